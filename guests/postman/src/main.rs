//! A command that fetches a URL, with the HTTP client of another project: an ordinary `wasi:cli/command`.
//!
//! The URL is the first argument, or without arguments the variable `URL`. The variable `BODY` makes it a POST of that
//! text. Prints the status on a line of its own, and after it the body; what goes wrong is printed as an error, and
//! then it exits with 1.

use std::env;
use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;
use wstd::http::{Body, Client, Request};
use wstd::runtime::block_on;

fn main() -> ExitCode {
    match block_on(run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let url = env::args().nth(1).or_else(|| env::var("URL").ok()).ok_or("no URL was given")?;
    let request = match env::var("BODY") {
        Ok(body) => Request::post(url).body(Body::from(body))?,
        Err(_) => Request::get(url).body(Body::empty())?,
    };
    let mut response = Client::new().send(request).await?;
    let status = response.status().as_u16();
    let body = response.body_mut().contents().await?;

    let mut stdout = io::stdout();
    writeln!(stdout, "{status}")?;
    stdout.write_all(body)?;
    Ok(stdout.flush()?)
}
