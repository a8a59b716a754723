//! Advice from forecasts that someone else has: what `wit/planner` says, and nothing else.

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]

    wit_bindgen::generate!({
        path: ["../../wit/weather", "../../wit/planner"],
        world: "casemate:planner/planner",
        generate_all,
    });

    export!(Planner with_types_in self);

    use super::Planner;
}

use bindings::acme::weather::forecast::{self, Forecast, Sky};
use bindings::exports::casemate::planner::plan;

struct Planner;

impl plan::Guest for Planner {
    fn advise(city: String) -> Result<String, String> {
        forecast::get_forecast(&city).map(|forecast| advice(&forecast))
    }

    fn known_cities() -> Vec<String> {
        forecast::cities()
    }
}

fn advice(forecast: &Forecast) -> String {
    let Forecast { city, high, low, sky } = forecast;
    let (item, weather) = match sky {
        Sky::Clear => ("sunglasses", "a clear sky"),
        Sky::Cloudy => ("a jacket", "clouds"),
        Sky::Rain => ("an umbrella", "rain"),
    };
    format!("Take {item} to {city}: {weather}, {low} to {high} degrees.")
}
