//! Limits at work, on a clock that is moved by hand.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use super::{Arrival, Client, Excess, Limit, LimitOptions, Limits, Meters, Moment, Rate};
use crate::limits::options::Rates;

const UNLIMITED: Rates = Rates { commands: None, publishes: None, bytes: None };

/// A second in, so that nothing depends on the beginning of time.
const BEGIN: Moment = Moment(1_000_000_000);

fn after(ms: u64) -> Moment {
    Moment(BEGIN.0 + ms * 1_000_000)
}

fn limits(change: impl FnOnce(&mut LimitOptions)) -> Arc<Limits> {
    let mut options = LimitOptions {
        exempt: Vec::new(),
        attempts_per_address: None,
        per_connection: UNLIMITED,
        per_address: UNLIMITED,
        publishes_per_topic: None,
        refusals_per_connection: None,
        ..LimitOptions::default()
    };
    change(&mut options);
    Limits::new(options)
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn client(limits: &Limits, peer: &str) -> Client {
    limits.client(Some(address(peer)), &HeaderMap::new())
}

fn connect(limits: &Arc<Limits>, peer: &str) -> Meters {
    *limits.connect(&client(limits, peer), BEGIN).expect("room").expect("nobody is exempt")
}

fn excess(limit: Limit, retry_after_ms: u64) -> Result<(), Excess> {
    Err(Excess { limit, retry_after_ms })
}

#[test]
fn an_address_has_so_many_connections_and_gets_their_places_back() {
    let limits = limits(|options| options.connections_per_address_max = 2);
    let first = connect(&limits, "192.0.2.1");
    let _second = connect(&limits, "::ffff:192.0.2.1");
    let refused = limits.connect(&client(&limits, "192.0.2.1"), BEGIN).map(drop);
    assert_eq!(refused, excess(Limit::Connections, 5_000));
    let _other = connect(&limits, "192.0.2.2");
    drop(first);
    let _again = connect(&limits, "192.0.2.1");
    assert!(limits.connect(&client(&limits, "192.0.2.1"), BEGIN).is_err());
    assert_eq!(limits.figures().connections, 2);
}

#[test]
fn connections_of_one_ipv6_network_are_those_of_one_address() {
    let limits = limits(|options| options.connections_per_address_max = 1);
    let _first = connect(&limits, "2001:db8::1");
    assert!(limits.connect(&client(&limits, "2001:db8::2"), BEGIN).is_err());
    let _other = connect(&limits, "2001:db8:0:1::1");
}

#[test]
fn attempts_have_a_rate_per_address() {
    let limits = limits(|options| options.attempts_per_address = Some(Rate::new(2, 3)));
    let client = client(&limits, "192.0.2.1");
    for _ in 0..3 {
        assert_eq!(limits.attempt(&client, BEGIN), Ok(()));
    }
    assert_eq!(limits.attempt(&client, BEGIN), excess(Limit::Attempts, 500));
    assert_eq!(limits.attempt(&self::client(&limits, "192.0.2.2"), BEGIN), Ok(()));
    assert_eq!(limits.attempt(&client, after(500)), Ok(()));
    assert_eq!(limits.figures().attempts, 1);
}

#[test]
fn commands_are_weighed_per_connection_and_per_address() {
    let limits = limits(|options| {
        options.per_connection.commands = Some(Rate::new(10, 20));
        options.per_address.commands = Some(Rate::new(10, 30));
    });
    let (one, other) = (connect(&limits, "192.0.2.1"), connect(&limits, "192.0.2.1"));
    assert_eq!(one.command(20, BEGIN), Ok(()));
    assert_eq!(one.command(1, BEGIN), excess(Limit::Commands, 100));
    // The address has ten left, whichever of its connections takes them.
    assert_eq!(other.command(9, BEGIN), Ok(()));
    assert_eq!(other.command(2, BEGIN), excess(Limit::Commands, 100));
    assert_eq!(connect(&limits, "192.0.2.2").command(20, BEGIN), Ok(()));
    assert_eq!(limits.figures().commands, 2);
}

#[test]
fn requests_count_with_the_connections_of_their_address() {
    let limits = limits(|options| options.per_address.publishes = Some(Rate::new(10, 2)));
    let client = client(&limits, "192.0.2.1");
    assert_eq!(connect(&limits, "192.0.2.1").publish("a", BEGIN), Ok(()));
    let request = limits.request(&client, BEGIN).expect("nobody is exempt");
    assert_eq!(request.publish("a", BEGIN), Ok(()));
    let request = limits.request(&client, BEGIN).expect("nobody is exempt");
    assert_eq!(request.publish("a", BEGIN), excess(Limit::Publishes, 100));
}

#[test]
fn a_message_of_too_many_bytes_takes_its_commands_along() {
    let limits = limits(|options| options.per_connection.bytes = Some(Rate::new(1_000, 2_000)));
    let mut meters = connect(&limits, "192.0.2.1");
    meters.message(1_500, BEGIN);
    assert_eq!(meters.command(1, BEGIN), Ok(()));
    meters.message(1_500, BEGIN);
    assert_eq!(meters.command(1, BEGIN), excess(Limit::Bytes, 1_000));
    assert_eq!(meters.command(1, BEGIN), excess(Limit::Bytes, 1_000));
    meters.message(1_500, after(1_000));
    assert_eq!(meters.command(1, after(1_000)), Ok(()));
    // One message, however many commands.
    assert_eq!(limits.figures().bytes, 1);
}

#[test]
fn the_longest_answer_is_given_to_who_has_used_little() {
    let limits = limits(|options| {
        options.per_connection.bytes = Some(Rate::new(100, 1_000));
        options.per_address.bytes = Some(Rate::new(200, 600));
    });
    let mut meters = connect(&limits, "192.0.2.1");
    meters.message(50, BEGIN);
    assert_eq!(meters.answer(1_000_000, BEGIN), Ok(()));
    // Half of what the address has counts, the smaller of the two.
    assert_eq!(meters.answer(1_000_000, BEGIN), excess(Limit::Bytes, 250));
    let request = limits.request(&client(&limits, "192.0.2.1"), BEGIN).expect("nobody is exempt");
    assert_eq!(request.answer(250, BEGIN), Ok(()));
    assert_eq!(request.answer(1, BEGIN), excess(Limit::Bytes, 5));
}

#[test]
fn a_topic_has_a_rate_whoever_publishes() {
    let limits = limits(|options| options.publishes_per_topic = Some(Rate::new(1, 2)));
    let (one, other) = (connect(&limits, "192.0.2.1"), connect(&limits, "192.0.2.2"));
    assert_eq!(one.publish("a", BEGIN), Ok(()));
    assert_eq!(other.publish("a", BEGIN), Ok(()));
    assert_eq!(one.publish("a", BEGIN), excess(Limit::Topic, 1_000));
    assert_eq!(one.publish("b", BEGIN), Ok(()));
    assert_eq!(limits.figures().topic, 1);
}

#[test]
fn whoever_is_refused_again_and_again_is_closed() {
    let limits = limits(|options| options.refusals_per_connection = Some(Rate::new(1, 2)));
    let mut meters = connect(&limits, "192.0.2.1");
    for _ in 0..2 {
        meters.message(1, BEGIN);
        assert!(!meters.refuse(BEGIN));
        // A batch counts once.
        assert!((0..1_000).all(|_| !meters.refuse(BEGIN)));
    }
    meters.message(1, BEGIN);
    assert!(meters.refuse(BEGIN));
    // One that waits is not.
    let mut patient = connect(&limits, "192.0.2.1");
    for second in 0..100 {
        patient.message(1, after(second * 1_000));
        assert!(!patient.refuse(after(second * 1_000)));
    }
    assert_eq!(limits.figures().closed, 1);
}

#[test]
fn whoever_is_refused_is_held_back_behind_all_that_is_refused_to_its_address() {
    let limits = limits(|options| options.per_connection.commands = Some(Rate::new(1, 1)));
    let (mut one, mut other) = (connect(&limits, "192.0.2.1"), connect(&limits, "192.0.2.1"));
    let pause = |meters: &mut Meters, refused: usize| {
        meters.message(1, BEGIN);
        for _ in 0..refused {
            meters.refuse(BEGIN);
        }
        meters.pause(BEGIN).as_millis()
    };
    assert_eq!(pause(&mut one, 0), 0);
    assert_eq!((pause(&mut one, 1), pause(&mut one, 100), pause(&mut other, 1)), (2, 202, 204));
    assert_eq!((pause(&mut other, 0), pause(&mut connect(&limits, "192.0.2.2"), 1)), (0, 2));
    let nobody = limits.client(None, &HeaderMap::new());
    let mut nobody = *limits.connect(&nobody, BEGIN).expect("room").expect("metered");
    assert_eq!(pause(&mut nobody, 10), 20);
}

#[test]
fn whoever_is_exempt_is_not_metered() {
    let limits = limits(|options| {
        options.exempt = vec!["127.0.0.0/8".parse().expect("a network")];
        options.connections_per_address_max = 1;
        options.attempts_per_address = Some(Rate::new(1, 1));
    });
    let exempt = client(&limits, "127.0.0.1");
    for _ in 0..10 {
        assert_eq!(limits.attempt(&exempt, BEGIN), Ok(()));
        assert!(limits.connect(&exempt, BEGIN).expect("room").is_none());
        assert!(limits.request(&exempt, BEGIN).is_none());
    }
    assert_eq!(limits.figures().metered, 0);
}

#[test]
fn an_exempt_peer_that_speaks_for_others_is_metered_unless_it_is_trusted() {
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
    let exempt = |options: &mut LimitOptions| options.exempt = vec!["127.0.0.1".parse().expect("a network")];
    let untrusting = limits(exempt);
    let client = untrusting.client(Some(address("127.0.0.1")), &headers);
    assert_eq!(client.address, Some(address("127.0.0.1")));
    assert!(untrusting.connect(&client, BEGIN).expect("room").is_some());

    let trusting = limits(|options| {
        exempt(options);
        options.trusted_proxies = vec!["127.0.0.1".parse().expect("a network")];
    });
    let client = trusting.client(Some(address("127.0.0.1")), &headers);
    assert_eq!(client.address, Some(address("192.0.2.1")));
    assert!(trusting.connect(&client, BEGIN).expect("room").is_some());
    // A proxy that cannot say for whom it speaks does not lend them its exemption.
    headers.insert("x-forwarded-for", HeaderValue::from_static("unknown"));
    let client = trusting.client(Some(address("127.0.0.1")), &headers);
    assert!(trusting.connect(&client, BEGIN).expect("room").is_some());
    // For itself, as in a health check, it has it.
    let client = self::client(&trusting, "127.0.0.1");
    assert!(trusting.connect(&client, BEGIN).expect("room").is_none());
}

#[test]
fn without_an_address_only_the_connection_itself_is_metered() {
    let limits = limits(|options| {
        options.connections_per_address_max = 1;
        options.per_connection.commands = Some(Rate::new(1, 1));
        options.per_address.commands = Some(Rate::new(1, 1));
    });
    let nobody = limits.client(None, &HeaderMap::new());
    for _ in 0..3 {
        let meters = limits.connect(&nobody, BEGIN).expect("room").expect("metered");
        assert_eq!(meters.command(1, BEGIN), Ok(()));
        assert!(meters.command(1, BEGIN).is_err());
    }
}

#[test]
fn networks_are_served_by_the_lists() {
    let serves = |allow: &[&str], deny: &[&str], peer: &str| {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect();
        let limits = limits(|options| (options.allow, options.deny) = (networks(allow), networks(deny)));
        let serves = limits.serves(&client(&limits, peer));
        assert_eq!(limits.figures().denied, u64::from(!serves));
        serves
    };
    assert!(serves(&[], &[], "192.0.2.1"));
    assert!(!serves(&[], &["192.0.2.0/24"], "192.0.2.1"));
    assert!(serves(&[], &["192.0.2.0/24"], "192.0.3.1"));
    assert!(serves(&["192.0.2.0/24"], &[], "192.0.2.1"));
    assert!(!serves(&["192.0.2.0/24"], &[], "192.0.3.1"));
    assert!(!serves(&["192.0.2.0/24"], &["192.0.2.1"], "192.0.2.1"));
    let limits = limits(|options| options.allow = vec!["::/0".parse().expect("a network")]);
    assert!(!limits.serves(&limits.client(None, &HeaderMap::new())));
}

#[test]
fn addresses_beyond_the_bound_share_their_rates_and_not_their_places() {
    let limits = limits(|options| {
        options.meters_max = 1;
        options.connections_per_address_max = 1;
        options.per_address.commands = Some(Rate::new(1, 2));
    });
    let _own = connect(&limits, "192.0.2.1");
    let (one, other) = (connect(&limits, "192.0.2.2"), connect(&limits, "192.0.2.3"));
    assert_eq!((one.command(1, BEGIN), other.command(1, BEGIN)), (Ok(()), Ok(())));
    assert!(one.command(1, BEGIN).is_err());
    assert!(limits.figures().unmetered >= 2);
}

#[test]
fn credentials_that_do_not_count_take_attempts_of_their_address() {
    let limits = limits(|options| options.attempts_per_address = Some(Rate::new(10, 25)));
    let meters = connect(&limits, "192.0.2.1");
    let arrive = |peer: &str, now| limits.arrive(address(peer), now);
    meters.refuse_credentials(BEGIN);
    meters.refuse_credentials(BEGIN);
    assert_eq!(arrive("192.0.2.1", BEGIN), Arrival::Admitted);
    meters.refuse_credentials(BEGIN);
    let refused = Arrival::Refused(Excess { limit: Limit::Attempts, retry_after_ms: 1_000 });
    assert_eq!(arrive("192.0.2.1", BEGIN), refused);
    assert_eq!(arrive("192.0.2.1", after(1_000)), Arrival::Admitted);
    assert_eq!(arrive("192.0.2.2", BEGIN), Arrival::Admitted);
}

#[test]
fn credentials_of_requests_are_not_looked_at_while_their_address_is_barred() {
    let limits = limits(|options| options.attempts_per_address = Some(Rate::new(10, 25)));
    let one = client(&limits, "192.0.2.1");
    for _ in 0..3 {
        assert_eq!(limits.credentials(&one, BEGIN), Ok(()));
        limits.refuse_credentials(&one, BEGIN);
    }
    let refused = |limit| Excess { limit, retry_after_ms: 1_000 };
    assert_eq!(limits.credentials(&one, BEGIN), Err(refused(Limit::Credentials)));
    assert_eq!(limits.arrive(address("192.0.2.1"), BEGIN), Arrival::Refused(refused(Limit::Attempts)));
    assert_eq!((limits.figures().attempts, limits.figures().credentials), (1, 1));
    assert_eq!(limits.credentials(&client(&limits, "192.0.2.2"), BEGIN), Ok(()));
    assert_eq!(limits.credentials(&one, after(1_000)), Ok(()));
}

#[test]
fn nobody_pays_for_the_credentials_of_those_who_share_a_meter() {
    let limits = limits(|options| {
        options.attempts_per_address = Some(Rate::new(10, 25));
        options.meters_max = 0;
    });
    let one = client(&limits, "192.0.2.1");
    (0..100).for_each(|_| limits.refuse_credentials(&one, BEGIN));
    assert_eq!(limits.credentials(&one, BEGIN), Ok(()));
}

#[test]
fn a_flood_of_connections_is_refused_first_and_then_not_even_answered() {
    let limits = limits(|options| {
        options.attempts_per_address = Some(Rate::new(10, 2));
        options.trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
        options.exempt = vec!["127.0.0.1".parse().expect("a network")];
    });
    let arrive = |peer: &str, now| limits.arrive(address(peer), now);
    let refused = Arrival::Refused(Excess { limit: Limit::Attempts, retry_after_ms: 100 });
    let arrivals: Vec<_> = (0..6).map(|_| arrive("192.0.2.1", BEGIN)).collect();
    // A tenth of those that get in are told.
    let flood = [Arrival::Flood; 3];
    assert_eq!(arrivals, [&[Arrival::Admitted, Arrival::Admitted, refused][..], &flood].concat());
    assert_eq!(limits.figures().attempts, 4);
    assert_eq!(arrive("192.0.2.1", after(100)), Arrival::Admitted);
    // For whom these come is known only when they speak.
    for peer in ["10.0.0.1", "127.0.0.1"] {
        assert!((0..10).all(|_| arrive(peer, BEGIN) == Arrival::Open));
    }
}

#[test]
fn the_meters_of_a_connection_are_small() {
    assert!(size_of::<Meters>() <= 256, "{}", size_of::<Meters>());
}

#[test]
fn connections_that_are_closed_for_their_rates_bar_their_address_for_a_while() {
    let limits = limits(|options| {
        options.refusals_per_connection = Some(Rate::new(1, 1));
        options.attempts_per_address = Some(Rate::new(20, 200));
    });
    let flood = |peer: &str| {
        let mut meters = connect(&limits, peer);
        meters.message(1, BEGIN);
        assert!(!meters.refuse(BEGIN));
        meters.message(1, BEGIN);
        assert!(meters.refuse(BEGIN));
    };
    let client = client(&limits, "192.0.2.1");
    flood("192.0.2.1");
    assert_eq!(limits.attempt(&client, BEGIN), excess(Limit::Attempts, 5_000));
    flood("192.0.2.1");
    assert_eq!(limits.attempt(&client, BEGIN), excess(Limit::Attempts, 10_000));
    assert_eq!(limits.attempt(&self::client(&limits, "192.0.2.2"), BEGIN), Ok(()));
    assert_eq!(limits.attempt(&client, after(10_000)), Ok(()));
    for _ in 0..1_000 {
        flood("192.0.2.1");
    }
    assert_eq!(limits.attempt(&client, BEGIN), excess(Limit::Attempts, 60_000));
}
