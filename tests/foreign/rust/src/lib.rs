//! The weather station in Rust: std and `wit-bindgen`, nothing else.

use std::collections::BTreeSet;

use exports::acme::weather::forecast::{Advice, Guest as Forecast, Reading, Sky, Summary};

wit_bindgen::generate!({ path: "../wit", world: "station" });

struct Station;

export!(Station);

impl Guest for Station {
    fn announce(headline: String) {
        println!("{headline}");
    }
}

impl Forecast for Station {
    fn summarize(city: String, readings: Vec<Reading>) -> Result<Summary, String> {
        if let Some(at) = readings.iter().position(|reading| !reading.celsius.is_finite()) {
            return Err(format!("reading {at} of `{city}` has no finite temperature"));
        }
        let times = readings.iter().map(|reading| reading.taken_at);
        let (Some(first), Some(last)) = (times.clone().min(), times.max()) else {
            return Err(format!("no readings for `{city}`"));
        };
        let stations: BTreeSet<_> = readings.iter().map(|reading| reading.station.clone()).collect();
        let total = readings.iter().fold(0.0, |total, reading| total + reading.celsius);
        Ok(Summary {
            city,
            stations: stations.into_iter().collect(),
            first,
            last,
            mean_celsius: total / readings.len() as f64,
            prevailing: prevailing(&readings),
            wettest: wettest(&readings),
        })
    }

    fn advise(sky: Sky, celsius: f64) -> Advice {
        if celsius < -20.0 {
            return Advice::StayIn("frost".into());
        }
        if celsius > 40.0 {
            return Advice::StayIn("heat".into());
        }
        let by_warmth = match celsius {
            ..0.0 => Some("coat"),
            ..12.0 => Some("pullover"),
            _ => None,
        };
        let by_sky = match sky {
            Sky::Rain => Some("umbrella"),
            Sky::Snow => Some("boots"),
            Sky::Clear | Sky::Cloudy => None,
        };
        let clothes: Vec<_> = by_warmth.into_iter().chain(by_sky).map(String::from).collect();
        if clothes.is_empty() { Advice::Enjoy } else { Advice::Wear(clothes) }
    }

    fn next_update(after: u64, every: u64) -> Option<u64> {
        after.checked_div(every)?.checked_add(1)?.checked_mul(every)
    }

    fn seal(mut payload: Vec<u8>) -> Vec<u8> {
        let sum = fletcher16(&payload);
        payload.extend(sum.to_le_bytes());
        payload
    }

    fn unseal(packet: Vec<u8>) -> Result<Vec<u8>, String> {
        let Some((payload, sum)) = packet.split_last_chunk() else {
            return Err(format!("packet too short: {} of at least 2 bytes", packet.len()));
        };
        let (found, expected) = (u16::from_le_bytes(*sum), fletcher16(payload));
        if found != expected {
            return Err(format!("checksum is {found:04x}, expected {expected:04x}"));
        }
        Ok(payload.to_vec())
    }
}

fn prevailing(readings: &[Reading]) -> Sky {
    let seen = |sky: &Sky| readings.iter().filter(|reading| reading.sky == *sky).count();
    // Of equals, `max_by_key` takes the last: the worst.
    [Sky::Clear, Sky::Cloudy, Sky::Rain, Sky::Snow].into_iter().max_by_key(seen).unwrap_or(Sky::Clear)
}

fn wettest(readings: &[Reading]) -> Option<String> {
    let gauged = readings.iter().filter(|reading| reading.rainfall.is_some());
    // Reversed, since `max_by_key` takes the last of equals.
    gauged.rev().max_by_key(|reading| reading.rainfall).map(|reading| reading.station.clone())
}

fn fletcher16(bytes: &[u8]) -> u16 {
    let (low, high) = bytes.iter().fold((0, 0), |(low, high), byte| {
        let low = (low + u16::from(*byte)) % 255;
        (low, (high + low) % 255)
    });
    high << 8 | low
}
