//! Which requests a server answers, by the name that they call it and the web page that they come from.
//!
//! A listener on loopback has no password, because only this machine reaches it. But so does every web page
//! that is open in a browser here: by a name that it resolves to 127.0.0.1, or by a request that it may not
//! read the answer of. `decide` is pure.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::problem::{problem, problem_response};

const ALLOWED_METHODS: &str = "GET, HEAD, POST";
const ALLOWED_HEADERS: &str = "accept, authorization, content-encoding, content-type, if-match, \
     last-event-id, traceparent, tracestate";
const EXPOSED_HEADERS: &str = "isotherm-complete, isotherm-next, isotherm-tiers, etag, retry-after";
const PREFLIGHT_SECONDS: &str = "600";
const PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The flags for browsers, the same for every server of a process.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct AccessArgs {
    /// A name under which clients call this service; may be repeated. Without it, a listener on loopback
    /// answers to localhost, 127.0.0.1 and ::1 alone, and any other to every name.
    #[arg(
        long = "allowed-host",
        env = "ISOTHERM_ALLOWED_HOST",
        value_delimiter = ',',
        value_name = "HOST"
    )]
    pub allowed_hosts: Vec<String>,
    /// The origin of a web page, as http://localhost:3000, whose scripts may call this service; may be
    /// repeated. Scripts of other pages are refused.
    #[arg(
        long = "cors-origin",
        env = "ISOTHERM_CORS_ORIGIN",
        value_delimiter = ',',
        value_name = "ORIGIN"
    )]
    pub cors_origins: Vec<String>,
}

/// The access to one listener.
#[derive(Clone, Debug)]
pub(crate) struct Access(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    args: AccessArgs,
    is_loopback: bool,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Answer,
    /// Answer, and let the scripts of this origin read it.
    AnswerTo(HeaderValue),
    /// Say that the scripts of this origin may ask.
    Preflight(HeaderValue),
    Refuse(StatusCode, &'static str, String),
}

impl Access {
    pub(crate) fn new(args: AccessArgs, listens_at: IpAddr) -> Self {
        let is_loopback = listens_at.to_canonical().is_loopback();
        Self(Arc::new(Rules { args, is_loopback }))
    }
}

/// The middleware: refuses, answers a preflight, or passes the request on.
pub(crate) async fn check(State(access): State<Access>, request: Request, next: Next) -> Response {
    let decision = access
        .0
        .decide(request.method(), request.uri(), request.headers());
    match decision {
        Decision::Answer => next.run(request).await,
        Decision::AnswerTo(origin) => {
            let mut response = next.run(request).await;
            let headers = response.headers_mut();
            allow(headers, origin);
            let exposed = HeaderValue::from_static(EXPOSED_HEADERS);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
            response
        }
        Decision::Preflight(origin) => {
            let mut response = StatusCode::NO_CONTENT.into_response();
            let headers = response.headers_mut();
            allow(headers, origin);
            for (name, value) in [
                (header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
                (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS),
                (PRIVATE_NETWORK, "true"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            response
        }
        Decision::Refuse(status, code, detail) => {
            problem_response(status, problem(status, code, &detail))
        }
    }
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}

impl Rules {
    fn decide(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Decision {
        let named = headers.get_all(header::HOST).iter();
        let named: Vec<Option<Authority>> = named
            .map(|host| host.to_str().ok()?.parse().ok())
            .chain(uri.authority().map(|authority| Some(authority.clone())))
            .collect();
        let refused = named.iter().find(|host| {
            !host
                .as_ref()
                .is_some_and(|host| self.answers_to(host.host()))
        });
        if let Some(host) = refused {
            return refused_host(host.as_ref().map_or("?", Authority::host));
        }
        let Some(origin) = headers.get(header::ORIGIN) else {
            return Decision::Answer;
        };
        let text = origin.to_str().unwrap_or("?");
        let listed = &mut self.args.cors_origins.iter();
        if listed.any(|listed| listed.trim_end_matches('/').eq_ignore_ascii_case(text)) {
            let asks = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
            return match method == Method::OPTIONS && asks {
                true => Decision::Preflight(origin.clone()),
                false => Decision::AnswerTo(origin.clone()),
            };
        }
        let is_own = |host: &Option<Authority>| {
            let host = host.as_ref();
            host.is_some_and(|host| is_origin_of(text, host))
        };
        if !named.is_empty() && named.iter().all(is_own) {
            return Decision::Answer;
        }
        refused_origin(text)
    }

    fn answers_to(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        let ip = host.trim_start_matches('[').trim_end_matches(']');
        let ip: Option<IpAddr> = ip.parse().ok();
        let is_local = host.eq_ignore_ascii_case("localhost")
            || ip.is_some_and(|ip| ip.to_canonical().is_loopback());
        let allowed = &self.args.allowed_hosts;
        is_local
            || allowed.iter().any(|own| own.eq_ignore_ascii_case(host))
            // An address is no name that somebody else could let point here; probes use it.
            || !self.is_loopback && (allowed.is_empty() || ip.is_some())
    }
}

/// True when a page of `origin` was loaded from `host` itself.
fn is_origin_of(origin: &str, host: &Authority) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default_port = if scheme == "https" { 443 } else { 80 };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
    let authority: Option<Authority> = authority.parse().ok();
    authority.is_some_and(|origin| {
        origin.host().eq_ignore_ascii_case(host.host()) && port(&origin) == port(host)
    })
}

fn refused_host(host: &str) -> Decision {
    let detail = format!(
        "this service does not answer to the name {host}: call it by localhost or 127.0.0.1, or start it \
         with --allowed-host {host}"
    );
    Decision::Refuse(StatusCode::MISDIRECTED_REQUEST, "host_not_allowed", detail)
}

fn refused_origin(origin: &str) -> Decision {
    let detail = format!(
        "scripts of {origin} may not call this service: start it with --cors-origin {origin} if they \
         should"
    );
    Decision::Refuse(StatusCode::FORBIDDEN, "origin_not_allowed", detail)
}

#[cfg(test)]
mod tests;
