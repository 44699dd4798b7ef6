//! The negotiation of permessage-deflate: RFC 7692, 5 and 7.1; the syntax is that of RFC 6455, 9.1.

use crate::echo::Echo;
use crate::peer::{FIN, Peer, RSV1, TEXT};

/// Each line offers something; the answer has exactly these parameters, in any order, or is not there.
#[track_caller]
fn check(echo: &Echo, lines: &[&str], expected: Option<&[&str]>) {
    let (mut peer, answer) = Peer::offer(echo, lines);
    let parameters = answer.as_deref().map(|answer| {
        let mut parts = answer.split(';').map(str::trim);
        assert_eq!(parts.next(), Some("permessage-deflate"), "{lines:?}");
        let mut parameters: Vec<&str> = parts.collect();
        parameters.sort_unstable();
        parameters
    });
    let expected = expected.map(|parameters| {
        let mut parameters = parameters.to_vec();
        parameters.sort_unstable();
        parameters
    });
    assert_eq!(parameters, expected, "{lines:?}");
    // The connection works, whatever was agreed.
    peer.send(FIN | TEXT, b"Hello");
    peer.expect(FIN | TEXT, b"Hello");
}

/// What the answer always has.
const BOTH: [&str; 2] = ["server_no_context_takeover", "client_no_context_takeover"];

#[track_caller]
fn accepts(echo: &Echo, offer: &str, more: &[&str]) {
    check(echo, &[offer], Some(&[&BOTH, more].concat()));
}

#[track_caller]
fn declines(echo: &Echo, offer: &str) {
    check(echo, &[offer], None);
}

#[test]
fn rfc7692_5_without_an_offer_nothing_is_agreed() {
    let echo = Echo::start();
    check(&echo, &[], None);
    declines(&echo, "");
    declines(&echo, "permessage-bzip2, x-webkit-deflate-frame, permessage-deflate2");
}

#[test]
fn rfc7692_7_1_a_bare_offer_is_accepted_without_context_takeover() {
    accepts(&Echo::start(), "permessage-deflate", &[]);
}

#[test]
fn rfc7692_7_1_1_each_side_s_context_takeover_may_be_declined_by_the_client() {
    let echo = Echo::start();
    accepts(&echo, "permessage-deflate; server_no_context_takeover", &[]);
    accepts(&echo, "permessage-deflate; client_no_context_takeover", &[]);
    accepts(&echo, "permessage-deflate; client_no_context_takeover; server_no_context_takeover", &[]);
}

#[test]
fn rfc7692_7_1_1_2_the_client_may_take_its_context_over_where_the_server_lets_it() {
    let echo = Echo::with(&["--takeover"]);
    check(&echo, &["permessage-deflate"], Some(&BOTH[..1]));
    check(&echo, &["permessage-deflate; server_no_context_takeover"], Some(&BOTH[..1]));
    accepts(&echo, "permessage-deflate; client_no_context_takeover", &[]);
}

#[test]
fn rfc7692_7_1_2_1_the_server_s_window_is_as_asked_for() {
    let echo = Echo::start();
    for bits in 9..=15 {
        let parameter = format!("server_max_window_bits={bits}");
        accepts(&echo, &format!("permessage-deflate; {parameter}"), &[&parameter]);
        accepts(&echo, &format!("permessage-deflate; server_max_window_bits=\"{bits}\""), &[&parameter]);
    }
}

#[test]
fn rfc7692_7_1_2_1_a_window_of_8_bits_is_declined() {
    let echo = Echo::start();
    declines(&echo, "permessage-deflate; server_max_window_bits=8");
    accepts(&echo, "permessage-deflate; server_max_window_bits=8, permessage-deflate", &[]);
}

#[test]
fn rfc7692_7_1_2_2_the_client_s_window_is_its_own() {
    let echo = Echo::start();
    accepts(&echo, "permessage-deflate; client_max_window_bits", &[]);
    for bits in 8..=15 {
        accepts(&echo, &format!("permessage-deflate; client_max_window_bits={bits}"), &[]);
    }
}

#[test]
fn rfc7692_7_1_all_parameters_may_be_offered_at_once() {
    let offer = "permessage-deflate; client_max_window_bits=11; server_no_context_takeover; \
        server_max_window_bits=10; client_no_context_takeover";
    accepts(&Echo::start(), offer, &["server_max_window_bits=10"]);
}

#[test]
fn rfc7692_7_1_an_offer_with_a_parameter_that_is_not_defined_is_declined() {
    let echo = Echo::start();
    for parameter in ["unknown", "unknown=1", "max_window_bits=10", "SERVER_MAX_WINDOW_BITS=10", "c2s_max_window_bits"]
    {
        declines(&echo, &format!("permessage-deflate; {parameter}"));
        declines(&echo, &format!("permessage-deflate; client_no_context_takeover; {parameter}"));
    }
}

#[test]
fn rfc7692_7_1_an_offer_with_a_value_that_is_not_allowed_is_declined() {
    let echo = Echo::start();
    for parameter in ["server_no_context_takeover", "client_no_context_takeover"] {
        for value in ["=", "=1", "=true", "=\"\""] {
            declines(&echo, &format!("permessage-deflate; {parameter}{value}"));
        }
    }
    for parameter in ["server_max_window_bits", "client_max_window_bits"] {
        for value in
            ["=", "=0", "=7", "=16", "=08", "=010", "=+9", "=-9", "=9.0", "=x", "=\"\"", "=\" 9\"", "=256", "=265"]
        {
            declines(&echo, &format!("permessage-deflate; {parameter}{value}"));
        }
    }
    // 7.1.2.1: this one needs a value.
    declines(&echo, "permessage-deflate; server_max_window_bits");
}

#[test]
fn rfc7692_7_1_an_offer_with_a_parameter_twice_is_declined() {
    let echo = Echo::start();
    for parameter in [
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits=10",
        "client_max_window_bits",
    ] {
        declines(&echo, &format!("permessage-deflate; {parameter}; {parameter}"));
    }
    declines(&echo, "permessage-deflate; server_max_window_bits=10; server_max_window_bits=11");
    declines(&echo, "permessage-deflate; client_max_window_bits; client_max_window_bits=10");
}

#[test]
fn rfc7692_5_1_the_first_offer_that_can_be_met_is_accepted() {
    let echo = Echo::start();
    let ten = &["server_max_window_bits=10"][..];
    accepts(&echo, "permessage-deflate; server_max_window_bits=10, permessage-deflate", ten);
    accepts(&echo, "permessage-deflate, permessage-deflate; server_max_window_bits=10", &[]);
    accepts(&echo, "permessage-deflate; unknown, permessage-deflate; server_max_window_bits=10", ten);
    accepts(&echo, "x-foo; a=\"b, c; d\"; e, permessage-deflate; server_max_window_bits=10", ten);
    declines(&echo, "permessage-deflate; unknown, permessage-deflate; server_max_window_bits=8");
}

#[test]
fn rfc6455_9_1_offers_on_several_lines_are_one_list() {
    let echo = Echo::start();
    let lines = ["x-foo, permessage-deflate; unknown", "permessage-deflate; server_max_window_bits=12"];
    check(&echo, &lines, Some(&[&BOTH[..], &["server_max_window_bits=12"]].concat()));
}

#[test]
fn rfc6455_9_1_white_space_and_empty_elements_do_not_count() {
    let echo = Echo::start();
    accepts(
        &echo,
        " ,\tpermessage-deflate ;\tserver_max_window_bits = 9 ; client_no_context_takeover ,, ",
        &["server_max_window_bits=9"],
    );
}

#[test]
fn rfc6455_9_1_a_malformed_offer_never_fails_the_handshake() {
    let echo = Echo::start();
    for offer in [
        ";",
        ",",
        "=",
        "\"",
        "permessage-deflate; =",
        "permessage-deflate; \"server_max_window_bits\"=10",
        "permessage-deflate; server_max_window_bits=\"10",
        "permessage-deflate; server_max_window_bits=10\"",
        "permessage-deflate; server_max_window_bits=10 11",
        "permessage-deflate server_max_window_bits=10",
        "permessage-deflate=15",
        "caf\u{e9}",
    ] {
        declines(&echo, offer);
    }
    declines(&echo, &"permessage-deflate; unknown, ".repeat(200));
}

#[test]
fn rfc7692_5_what_was_declined_must_not_be_used() {
    let echo = Echo::start();
    for offer in ["permessage-bzip2", "permessage-deflate; unknown"] {
        let (mut peer, _) = Peer::offer(&echo, &[offer]);
        peer.send(FIN | RSV1 | TEXT, &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00]);
        peer.expect_close(1002);
    }
}
