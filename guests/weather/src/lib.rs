//! Forecasts that follow from the names of cities: what `wit/weather` says, and nothing else.

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]

    wit_bindgen::generate!({
        path: "../../wit/weather",
        world: "weather",
    });

    export!(Weather with_types_in self);

    use super::Weather;
}

use bindings::exports::acme::weather::forecast::{self, Forecast, Sky};

const CITIES: [&str; 5] = ["Lisbon", "Nairobi", "Oslo", "Quito", "Tokyo"];

struct Weather;

impl forecast::Guest for Weather {
    fn get_forecast(city: String) -> Result<Forecast, String> {
        if city.is_empty() {
            return Err("the name of the city is empty".to_owned());
        }
        let mark = city.bytes().fold(0, |mark: i32, byte| (mark * 31 + i32::from(byte)) % 10_007);
        let low = mark % 30 - 8;
        let high = low + 3 + mark % 9;
        Ok(Forecast { city, high, low, sky: sky(mark) })
    }

    fn cities() -> Vec<String> {
        CITIES.map(str::to_owned).to_vec()
    }
}

fn sky(mark: i32) -> Sky {
    match mark % 7 {
        0..3 => Sky::Clear,
        3..5 => Sky::Cloudy,
        _ => Sky::Rain,
    }
}
