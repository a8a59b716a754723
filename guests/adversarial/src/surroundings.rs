//! Looks at what the host shows of itself: environment, arguments, standard input.
//! Only what was granted should be there, and by default nothing.

use std::io::Read;

pub(crate) fn environment() -> Vec<(String, String)> {
    wasip2::cli::environment::get_environment()
}

pub(crate) fn arguments() -> Vec<String> {
    wasip2::cli::environment::get_arguments()
}

pub(crate) fn stdin() -> String {
    let mut bytes = Vec::new();
    // What came before an error is what the guest saw.
    let _ = std::io::stdin().read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
