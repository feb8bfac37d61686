use super::*;

const LOOPBACK: &str = "127.0.0.1";
const EVERYWHERE: &str = "0.0.0.0";

fn access(listens_at: &str, hosts: &[&str], origins: &[&str]) -> Access {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let args = AccessArgs {
        allowed_hosts: list(hosts),
        cors_origins: list(origins),
    };
    Access::new(args, listens_at.parse().unwrap())
}

fn decide(access: &Access, method: &str, headers: &[(&'static str, &str)]) -> Decision {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    access
        .0
        .decide(&method.parse().unwrap(), &Uri::from_static("/v1/x"), &map)
}

fn refused(decision: &Decision) -> Option<(u16, &'static str)> {
    match decision {
        Decision::Refuse(status, code, _) => Some((status.as_u16(), code)),
        _ => None,
    }
}

#[test]
fn a_listener_on_loopback_answers_to_no_name_that_another_could_point_at_it() {
    let own = access(LOOPBACK, &["box.example"], &[]);
    for host in [
        "localhost",
        "LOCALHOST:7401",
        "localhost.:1",
        "127.0.0.1:7401",
        "[::1]:7401",
        "box.example:7401",
    ] {
        assert_eq!(
            decide(&own, "GET", &[("host", host)]),
            Decision::Answer,
            "{host}"
        );
    }
    for host in [
        "rebound.example",
        "localhost.example:7401",
        "127.0.0.1.example",
        "10.0.0.1",
        "x@127.0.0.1.example",
        "a b",
        "",
    ] {
        let decision = decide(&own, "GET", &[("host", host)]);
        assert_eq!(
            refused(&decision),
            Some((421, "host_not_allowed")),
            "{host}"
        );
    }
    let two = [("host", "localhost"), ("host", "rebound.example")];
    assert!(refused(&decide(&own, "GET", &two)).is_some());
    // A client of HTTP/1.0, which no browser is.
    assert_eq!(decide(&own, "GET", &[]), Decision::Answer);
}

#[test]
fn another_listener_answers_to_every_name_unless_some_are_given() {
    let open = access(EVERYWHERE, &[], &[]);
    let named = access(EVERYWHERE, &["ingest.example"], &[]);
    for (host, is_named) in [
        ("ingest.example", true),
        ("10.0.0.1:9090", true),
        ("localhost", true),
        ("other.example", false),
    ] {
        let headers = [("host", host)];
        assert_eq!(decide(&open, "GET", &headers), Decision::Answer);
        assert_eq!(
            decide(&named, "GET", &headers) == Decision::Answer,
            is_named,
            "{host}"
        );
    }
}

#[test]
fn scripts_of_pages_from_elsewhere_are_refused_whatever_they_ask() {
    for listens_at in [LOOPBACK, EVERYWHERE] {
        let own = access(listens_at, &[], &["http://app.example"]);
        for origin in [
            "http://evil.example",
            "http://localhost:3000",
            "http://localhost",
            "https://app.example",
            "http://app.example.evil",
            "null",
        ] {
            for method in ["GET", "POST", "OPTIONS"] {
                let headers = [("host", "localhost:7401"), ("origin", origin)];
                let decision = decide(&own, method, &headers);
                assert_eq!(
                    refused(&decision),
                    Some((403, "origin_not_allowed")),
                    "{origin}"
                );
            }
        }
    }
}

#[test]
fn its_own_pages_and_those_of_listed_origins_are_answered() {
    let own = access(
        LOOPBACK,
        &[],
        &["http://app.example/", "http://localhost:3000"],
    );
    let ask = |method, origin, more: &[(&'static str, &str)]| {
        let head = [("host", "localhost:7401"), ("origin", origin)];
        decide(&own, method, &[&head[..], more].concat())
    };
    assert_eq!(ask("POST", "http://localhost:7401", &[]), Decision::Answer);
    for origin in ["http://app.example", "http://localhost:3000"] {
        let value = HeaderValue::from_static(origin);
        assert_eq!(ask("POST", origin, &[]), Decision::AnswerTo(value.clone()));
        assert_eq!(
            ask("OPTIONS", origin, &[]),
            Decision::AnswerTo(value.clone())
        );
        let asks = [("access-control-request-method", "POST")];
        assert_eq!(ask("OPTIONS", origin, &asks), Decision::Preflight(value));
    }
    let default_port = [("host", "localhost"), ("origin", "http://localhost:80")];
    assert_eq!(decide(&own, "GET", &default_port), Decision::Answer);
}
