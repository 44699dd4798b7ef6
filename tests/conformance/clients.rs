//! Compression with two clients that nobody here wrote, over many sizes, fragmentations and sets of
//! parameters: RFC 7692, 7.

use crate::echo::Echo;
use crate::foreign;

#[test]
fn rfc7692_7_python_s_websockets_agrees_on_every_set_of_parameters() {
    let echo = Echo::start();
    foreign::python("compression.py", &[&format!("ws://{}", echo.address())]);
}

#[test]
fn rfc7692_7_npm_s_ws_agrees_on_every_set_of_parameters() {
    let echo = Echo::start();
    foreign::node("compression.mjs", &[&format!("ws://{}", echo.address())]);
}

#[test]
fn rfc7692_7_1_1_2_python_s_websockets_takes_its_context_over() {
    let echo = Echo::with(&["--takeover"]);
    foreign::python("compression.py", &[&format!("ws://{}", echo.address()), "takeover"]);
}

#[test]
fn rfc7692_7_1_1_2_npm_s_ws_takes_its_context_over() {
    let echo = Echo::with(&["--takeover"]);
    foreign::node("compression.mjs", &[&format!("ws://{}", echo.address()), "takeover"]);
}
