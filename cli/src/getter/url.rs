//! A miss is a GET: 2xx is the value, 404 "not found", anything else a failed
//! getter, whose code is the status.

use std::sync::Arc;
use std::time::Duration;

use hyper::{StatusCode, Uri};
use kamacache_core::{BoxFuture, Error, Getter, LoadContext, Loaded, Result, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::failure::{Failure, Log, Secrets};
use super::time_left;
use crate::http::{Http, Trouble};

/// All but what RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A URL with places for the group and the key.
#[derive(Clone, Debug)]
pub(super) struct Template(String);

impl Template {
    /// Checks it; what it breaks is the error.
    pub(super) fn parse(text: &str) -> std::result::Result<Self, String> {
        if !text.contains("{key}") {
            return Err("it has no {key}, so every key would be the same; add it, as in http://localhost:8080/{group}/{key}".to_owned());
        }
        let filled = text.replace("{group}", "g").replace("{key}", "k");
        if let Some(brace) = filled.find(['{', '}']) {
            // A query and what stands before an @ may be secrets.
            let is_path = !filled[..brace].contains(['?', '#']) && !filled.contains('@');
            let rest = filled[brace..].split(['?', '#']).next().unwrap_or_default();
            let shown: String = match is_path {
                true => rest.chars().take(20).collect(),
                false => filled[brace..=brace].to_owned(),
            };
            return Err(format!(
                "{shown:?} is no place that is filled; there are {{group}} and {{key}}"
            ));
        }
        let uri: Uri = filled
            .parse()
            .map_err(|error| format!("it is no URL: {error}"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err("https is not available in this build; use http, or a proxy on this host that speaks TLS".to_owned()),
            _ => return Err("it does not begin with http://".to_owned()),
        }
        match uri.authority() {
            Some(authority) if authority.as_str().contains('@') => {
                Err("a user and password in it would not be sent; leave them out".to_owned())
            }
            Some(authority)
                if authority.as_str() != authority.host() && authority.port_u16().is_none() =>
            {
                Err("its port is not a number from 0 to 65535".to_owned())
            }
            Some(_) => Ok(Self(text.to_owned())),
            None => Err("it names no host".to_owned()),
        }
    }

    fn fill(&self, group: &str, key: &str) -> String {
        let encode = |text| utf8_percent_encode(text, ENCODED).to_string();
        // The key last, so that a key is never taken for a place.
        let (before, after) = self.0.split_once("{key}").unwrap_or((&self.0, ""));
        let (group, key) = (encode(group), encode(key));
        let side = |side: &str| side.replace("{group}", &group);
        let after = after
            .split("{key}")
            .map(side)
            .collect::<Vec<_>>()
            .join(&key);
        format!("{}{key}{after}", side(before))
    }
}

/// A URL to ask, and what of it may be told: all but its query.
#[derive(Debug)]
struct Place {
    url: String,
    key: String,
    secrets: Arc<Secrets>,
}

impl Place {
    fn failed(&self, what: &str) -> Failure {
        let shown = self.url.split(['?', '#']).next().unwrap_or_default();
        Failure {
            error: Error::getter(format!("getter_url {shown} for key {:?} {what}", self.key)),
            detail: format!("GET {}", self.url),
        }
    }
}

#[derive(Debug)]
pub(super) struct UrlGetter {
    template: Template,
    http: Http,
    limit: usize,
    secrets: Arc<Secrets>,
    log: Arc<Log>,
}

impl UrlGetter {
    pub(super) fn new(template: Template, http: Http, limit: usize) -> Self {
        let query = template.0.split_once('?').map_or("", |(_, query)| query);
        let decoded = percent_decode_str(query).decode_utf8_lossy();
        let secrets = Secrets::of([query, &*decoded]);
        Self {
            secrets: Arc::new(secrets),
            template,
            http,
            limit,
            log: Arc::default(),
        }
    }
}

impl Getter for UrlGetter {
    fn load(&self, ctx: LoadContext) -> BoxFuture<Result<Option<Loaded>>> {
        let place = Place {
            url: self.template.fill(ctx.group(), ctx.key()),
            key: ctx.key().to_owned(),
            secrets: self.secrets.clone(),
        };
        let (http, limit, log) = (self.http.clone(), self.limit, self.log.clone());
        Box::pin(async move {
            let loaded = load(&http, &place, time_left(&ctx), limit).await;
            loaded.map_err(|failure| {
                log.failed(&ctx, &failure);
                failure.error
            })
        })
    }
}

async fn load(
    http: &Http,
    place: &Place,
    within: Duration,
    limit: usize,
) -> std::result::Result<Option<Loaded>, Failure> {
    let uri = place
        .url
        .parse()
        .map_err(|error| place.failed(&format!("is no URL: {error}")))?;
    let answer = http.get(uri, within, limit).await.map_err(|trouble| {
        place.failed(&match trouble {
            Trouble::Broken(why) => format!("cannot be asked: {why}"),
            Trouble::Slow => format!("did not answer within {within:.1?} (load_timeout)"),
            Trouble::TooLong => format!("answered more than {limit} bytes (max_value_bytes)"),
        })
    })?;
    match answer.status {
        StatusCode::NOT_FOUND => Ok(None),
        status if status.is_success() => Ok(Some(Loaded::new(Value::from(answer.body)))),
        status => {
            let said = place.secrets.excerpt(&answer.body);
            let mut failure = place.failed(&format!("answered {status}{said}"));
            failure.error = failure.error.with_app_code(status.as_u16().into());
            Err(failure)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_keys_encoded() {
        let template = Template::parse("http://h:1/{group}/{key}?again={key}").unwrap();
        assert_eq!(
            template.fill("a.b", "x/y {group}?ü"),
            "http://h:1/a.b/x%2Fy%20%7Bgroup%7D%3F%C3%BC?again=x%2Fy%20%7Bgroup%7D%3F%C3%BC"
        );
    }

    #[test]
    fn a_query_is_not_told() {
        let template = "http://h:1/{group}?api_key=hush%2dhush-hush&of={key}";
        let template = Template::parse(template).unwrap();
        let url = template.fill("g", "the-key-itself");
        let getter = UrlGetter::new(template, Http::new(), 1);
        let place = Place {
            url,
            key: "the-key-itself".into(),
            secrets: getter.secrets,
        };
        let failure = place.failed("answered 500");
        assert_eq!(
            failure.error.message(),
            "getter_url http://h:1/g for key \"the-key-itself\" answered 500"
        );
        assert!(
            failure.detail.contains("api_key=hush%2d"),
            "{}",
            failure.detail
        );
        for (said, crosses) in [
            ("key hush-hush-hush is wrong", ": key *** is wrong"),
            ("GET /g?api_key=hush%2dhush-hush", ": GET /g?api_key=***"),
            ("no the-key-itself", ": no the-key-itself"),
        ] {
            assert_eq!(place.secrets.excerpt(said.as_bytes()), crosses);
        }
    }

    #[test]
    fn a_wrong_template_is_told_the_rule() {
        for (text, says) in [
            ("http://h/{group}", "{key}"),
            ("http://h/{key}/{user}", "{user}"),
            ("ftp://h/{key}", "http://"),
            ("/only/{key}", "http://"),
            ("https://h/{key}", "https"),
            ("http://me:hush@h/{key}", "password"),
            ("http://h h/{key}", "URL"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
