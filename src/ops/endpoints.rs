//! Endpoints: made, read, changed, connected, tested, deleted.

use http::{HeaderName, HeaderValue};
use serde_json::Value;
use url::Url;

use super::input::{Mine, Paging, email};
use super::{Caller, Ops, OpsError};
use crate::domain::attempt::Attempt;
use crate::domain::endpoint::{CipherText, Endpoint, EndpointStatus, Ordering, Profile, Settings};
use crate::domain::filter::Filter;
use crate::domain::id::EndpointId;
use crate::domain::secret::Secret;
use crate::domain::vendor::Mode;
use crate::fields::{Fields, Problem};
use crate::limits;
use crate::store::{Created, EndpointChange, Page};
use crate::transport::Target;
use crate::transport::guard::{HttpsRule, Refusal};
use crate::wire;

/// An endpoint that was just made; its secret is shown this once.
pub struct NewEndpoint {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The secret as its vendor puts it into a receiver.
    pub secret: String,
}

/// An endpoint that was connected.
#[derive(Debug, Clone, Copy)]
pub struct Connected {
    /// Events that it did not get.
    pub missed: u64,
}

impl Ops {
    /// Makes an endpoint; it gets events once it is connected.
    ///
    /// # Errors
    /// The input's problems; [`OpsError::EndpointLimit`].
    pub async fn create_endpoint(&self, caller: Caller, mut fields: Fields) -> Result<NewEndpoint, OpsError> {
        let mine = self.mine(caller, &mut fields).await?;
        if !fields.has("url") {
            fields.invalid("url", "is required");
        }
        let mut settings = self.blank_settings();
        let profile = read_word(&mut fields, "profile", &Profile::ALL, Profile::as_str).unwrap_or(Profile::Standard);
        settings.profile = profile;
        if let Some(secret) = read_secret(&mut fields, profile) {
            settings.secret = secret;
        } else {
            settings.secret = self.new_secret(profile);
        }
        if fields.boolean("ed25519") == Some(true) {
            settings.signing_key = Some(self.random_secret(32));
        }
        let mode = mine.map_or(Mode::Live, |mine| mine.mode);
        self.read_settings(&mut fields, &mut settings, mode);
        let problems = fields.finish();
        let (Some(Mine { vendor, mode, stream }), true) = (mine, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        let now = self.surroundings.clock.now();
        let endpoint = Endpoint {
            id: EndpointId::from(self.surroundings.ids.next(now)),
            vendor,
            mode,
            stream,
            settings,
            status: EndpointStatus::NotConnected,
            status_reason: None,
            created_at: now,
            connected_at: None,
            vendor_disabled: false,
            deleted: false,
        };
        match self.store.create_endpoint(endpoint.clone(), self.rules.endpoints_per_vendor).await? {
            Created::Yes => Ok(NewEndpoint { secret: secret_text(&endpoint.settings), endpoint }),
            Created::LimitReached => Err(OpsError::EndpointLimit(self.rules.endpoints_per_vendor)),
        }
    }

    /// A vendor's endpoints, newest first.
    ///
    /// # Errors
    /// The input's problems.
    pub async fn endpoints(&self, caller: Caller, mut fields: Fields) -> Result<(Vec<Endpoint>, Page<EndpointId>), OpsError> {
        let mine = self.mine(caller, &mut fields).await?;
        let Paging(page) = Paging::read(&mut fields);
        let problems = fields.finish();
        let (Some(mine), true) = (mine, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        Ok((self.store.endpoints(mine.stream, page).await?, page))
    }

    /// One endpoint.
    ///
    /// # Errors
    /// There is no such endpoint.
    pub async fn endpoint(&self, caller: Caller, id: EndpointId) -> Result<Endpoint, OpsError> {
        let found = self.store.endpoint(id).await?.filter(|endpoint| !endpoint.deleted && caller.sees(endpoint.stream));
        found.ok_or(OpsError::NotFound("endpoint"))
    }

    /// Changes an endpoint. A connected one's new `url` or `profile` has to pass the handshake first; if it does not,
    /// the old values stay in force.
    ///
    /// # Errors
    /// The input's problems; there is no such endpoint; [`OpsError::ConnectFailed`].
    pub async fn change_endpoint(&self, caller: Caller, id: EndpointId, mut fields: Fields) -> Result<Endpoint, OpsError> {
        let before = self.endpoint(caller, id).await?;
        let mut settings = before.settings.clone();
        let profile = read_word(&mut fields, "profile", &Profile::ALL, Profile::as_str).unwrap_or(settings.profile);
        if profile != settings.profile {
            settings.profile = profile;
            if profile == Profile::GlobalTopup {
                match (fields.has("secret"), read_secret(&mut fields, profile)) {
                    (_, Some(secret)) => settings.secret = secret,
                    (false, None) => fields.invalid("secret", "is required in the request that changes the profile to globaltopup"),
                    (true, None) => {}
                }
            }
        }
        self.read_settings(&mut fields, &mut settings, before.mode);
        let problems = fields.finish();
        if !problems.is_empty() {
            return Err(OpsError::Invalid(problems));
        }
        let moved = settings.url != before.settings.url || settings.profile != before.settings.profile;
        if moved && before.status.listens() {
            self.shake_hands(&before, &settings).await?;
        }
        self.apply(id, EndpointChange::Settings(Box::new(settings))).await?.ok_or(OpsError::NotFound("endpoint"))
    }

    /// Deletes an endpoint; what is pending is cancelled.
    ///
    /// # Errors
    /// There is no such endpoint.
    pub async fn delete_endpoint(&self, caller: Caller, id: EndpointId) -> Result<(), OpsError> {
        self.endpoint(caller, id).await?;
        self.apply(id, EndpointChange::Delete).await?.map(drop).ok_or(OpsError::NotFound("endpoint"))
    }

    /// Does the handshake, and from then on the endpoint gets events. The same for one that is connected for the first
    /// time and for one that is enabled again.
    ///
    /// # Errors
    /// There is no such endpoint; it is paused; [`OpsError::ConnectFailed`].
    pub async fn connect(&self, caller: Caller, id: EndpointId, fields: Fields) -> Result<Connected, OpsError> {
        const FROM: &[EndpointStatus] = &[EndpointStatus::NotConnected, EndpointStatus::Connected, EndpointStatus::Disabled];
        nothing_in(fields)?;
        let endpoint = self.endpoint(caller, id).await?;
        if !FROM.contains(&endpoint.status) {
            return Err(OpsError::IllegalState("the endpoint is paused; resume it".to_owned()));
        }
        self.shake_hands(&endpoint, &endpoint.settings).await?;
        let change = EndpointChange::Status { from: FROM, to: EndpointStatus::Connected, reason: None };
        let connected = self.apply(id, change).await?;
        connected.ok_or_else(|| OpsError::IllegalState("the endpoint was changed meanwhile; look at it and try again".to_owned()))?;
        Ok(Connected { missed: self.store.missed(id).await? })
    }

    /// Disables an endpoint: it gets no events until it is enabled; what is pending waits, and its deadlines run.
    ///
    /// # Errors
    /// There is no such endpoint.
    pub async fn disable(&self, caller: Caller, id: EndpointId, fields: Fields) -> Result<Endpoint, OpsError> {
        nothing_in(fields)?;
        let endpoint = self.endpoint(caller, id).await?;
        let change = EndpointChange::Status {
            from: &[EndpointStatus::NotConnected, EndpointStatus::Connected, EndpointStatus::Paused],
            to: EndpointStatus::Disabled,
            reason: Some("disabled by request".to_owned()),
        };
        Ok(self.apply(id, change).await?.unwrap_or(endpoint))
    }

    /// Sends a `webhook.test` event to this endpoint alone; answers with the attempt and its headers, masked.
    ///
    /// # Errors
    /// There is no such endpoint.
    pub async fn test_endpoint(
        &self,
        caller: Caller,
        id: EndpointId,
        fields: Fields,
    ) -> Result<(Attempt, Vec<(String, String)>), OpsError> {
        nothing_in(fields)?;
        let endpoint = self.endpoint(caller, id).await?;
        self.try_out(&endpoint).await
    }

    async fn apply(&self, id: EndpointId, change: EndpointChange) -> Result<Option<Endpoint>, OpsError> {
        let changed = self.store.change_endpoint(id, change, self.surroundings.clock.now()).await?;
        self.handoff.changed(id);
        Ok(changed)
    }

    fn random_secret(&self, bytes: usize) -> Secret {
        let mut random = vec![0; bytes];
        self.surroundings.entropy.fill(&mut random);
        Secret::new(random)
    }

    fn new_secret(&self, profile: Profile) -> Secret {
        match profile {
            Profile::Standard => self.random_secret(limits::STANDARD_SECRET_NEW),
            // 32 printable characters of base32: 160 random bits, and a key that every language's AES accepts.
            Profile::GlobalTopup => {
                let text = data_encoding::BASE32_NOPAD.encode(self.random_secret(20).expose()).to_lowercase();
                Secret::new(text)
            }
        }
    }

    fn blank_settings(&self) -> Settings {
        Settings {
            url: Url::parse("https://invalid.invalid/").expect("it is a URL"),
            description: None,
            event_types: Filter::recharges(),
            profile: Profile::Standard,
            cipher_text: CipherText::Raw,
            alert_email: None,
            headers: Vec::new(),
            rate_limit_per_second: None,
            max_in_flight: None,
            ordering: Ordering::None,
            strict_hold: None,
            secret: Secret::new(Vec::new()),
            signing_key: None,
        }
    }

    /// Reads what may be set when an endpoint is made and changed later. A field that is `null` goes back to its default.
    fn read_settings(&self, fields: &mut Fields, settings: &mut Settings, mode: Mode) {
        if fields.has("url")
            && let Some(url) = self.read_url(fields, mode)
        {
            settings.url = url;
        }
        optional(fields, "description", &mut settings.description, |fields, name| fields.text(name, limits::NAME_MAX));
        if let Some(filter) = read_event_types(fields) {
            settings.event_types = filter;
        }
        if fields.has("cipher_text") && settings.profile == Profile::Standard {
            fields.value("cipher_text");
            fields.invalid("cipher_text", "goes with the profile globaltopup only");
        }
        if let Some(cipher_text) = read_word(fields, "cipher_text", &CipherText::ALL, CipherText::as_str) {
            settings.cipher_text = cipher_text;
        }
        optional(fields, "alert_email", &mut settings.alert_email, email);
        if fields.has("headers") {
            settings.headers = read_headers(fields);
        }
        optional(fields, "rate_limit_per_second", &mut settings.rate_limit_per_second, |fields, name| {
            fields.integer(name, 1..=i64::from(limits::RATE_LIMIT_MAX)).map(|rate| rate as u32)
        });
        let ceiling = self.rules.max_in_flight_per_endpoint;
        optional(fields, "max_in_flight", &mut settings.max_in_flight, |fields, name| {
            fields.integer(name, 1..=i64::from(ceiling)).map(|most| most as u32)
        });
        if let Some(ordering) = read_word(fields, "ordering", &Ordering::ALL, Ordering::as_str) {
            settings.ordering = ordering;
        }
        optional(fields, "strict_hold", &mut settings.strict_hold, |fields, name| {
            fields.parse::<humantime::Duration>(name).map(std::time::Duration::from)
        });
    }

    fn read_url(&self, fields: &mut Fields, mode: Mode) -> Option<Url> {
        let text = fields.required_text("url", limits::URL_MAX);
        if text.is_empty() {
            return None;
        }
        let rule = if self.rules.require_https && mode == Mode::Live { HttpsRule::Required } else { HttpsRule::Optional };
        let url = Url::parse(&text).map_err(|error| fields.invalid("url", format!("must be an absolute URL: {error}"))).ok()?;
        if let Err(refusal) = self.transport.guard().judge_url(&url, rule) {
            let code = if matches!(refusal, Refusal::Forbidden { .. }) { "forbidden_address" } else { "invalid" };
            fields.problem(Problem { field: "url".to_owned(), code, message: refusal.to_string() });
            return None;
        }
        Target::new(&url).map_err(|error| fields.invalid("url", error)).ok()?;
        Some(url)
    }
}

/// A call without a body, or with an empty one.
fn nothing_in(fields: Fields) -> Result<(), OpsError> {
    let problems = fields.finish();
    if problems.is_empty() { Ok(()) } else { Err(OpsError::Invalid(problems)) }
}

fn optional<T>(fields: &mut Fields, name: &str, setting: &mut Option<T>, read: impl FnOnce(&mut Fields, &str) -> Option<T>) {
    if fields.has(name) {
        *setting = read(fields, name);
    }
}

fn read_word<T: Copy>(fields: &mut Fields, name: &str, all: &[T], word: impl Fn(T) -> &'static str) -> Option<T> {
    let given = fields.value(name)?;
    let found = all.iter().copied().find(|one| given.as_str() == Some(word(*one)));
    if found.is_none() {
        let words: Vec<String> = all.iter().map(|one| format!("\"{}\"", word(*one))).collect();
        fields.invalid(name, format!("must be {}", words.join(" or ")));
    }
    found
}

fn read_event_types(fields: &mut Fields) -> Option<Filter> {
    let patterns = fields.list::<String>("event_types", limits::EVENT_TYPES_MAX)?;
    if patterns.is_empty() {
        fields.invalid("event_types", "must name at least one type or pattern, such as recharge.*");
        return None;
    }
    match Filter::new(patterns) {
        Ok(filter) => Some(filter),
        Err(wrong) => {
            for (at, _) in wrong {
                fields.invalid(&format!("event_types[{at}]"), "must be a type such as recharge.success, a prefix such as recharge.*, or *");
            }
            None
        }
    }
}

fn read_headers(fields: &mut Fields) -> Vec<(String, String)> {
    let object = match fields.value("headers") {
        None => return Vec::new(),
        Some(Value::Object(object)) => object,
        Some(_) => {
            fields.invalid("headers", "must be an object of names and values");
            return Vec::new();
        }
    };
    if object.len() > limits::HEADERS_MAX {
        fields.invalid("headers", format!("must have at most {} headers", limits::HEADERS_MAX));
    }
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value) in object {
        let field = format!("headers.{name}");
        match (HeaderName::from_bytes(name.as_bytes()), value.as_str().map(|text| (text, HeaderValue::from_str(text)))) {
            (Err(_), _) => fields.invalid(&field, "is not a header name"),
            (Ok(name), _) if !wire::is_custom_header(&name) => fields.invalid(&field, "is a header that Ringback sets itself"),
            (Ok(name), _) if headers.iter().any(|(known, _)| *known == name.as_str()) => fields.invalid(&field, "is there twice"),
            (Ok(name), Some((text, Ok(_)))) if text.is_ascii() => headers.push((name.to_string(), text.to_owned())),
            (Ok(_), _) => fields.invalid(&field, "must be a string of printable ASCII characters"),
        }
    }
    if headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > limits::HEADERS_BYTES_MAX {
        fields.invalid("headers", format!("must have at most {} bytes together", limits::HEADERS_BYTES_MAX));
    }
    headers
}

/// Reads `secret` (and `legacy_secret`) as the profile wants it. `None` if it is not there or not right.
fn read_secret(fields: &mut Fields, profile: Profile) -> Option<Secret> {
    let had_legacy = fields.has("legacy_secret");
    let legacy = fields.boolean("legacy_secret").unwrap_or(false);
    if had_legacy && profile == Profile::Standard {
        fields.invalid("legacy_secret", "goes with the profile globaltopup only");
    }
    let text = fields.text("secret", limits::LEGACY_SECRET_MAX)?;
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let (secret, expected) = match profile {
        Profile::Standard => (wire::standard::parse_secret(&text), "must be whsec_ and base64 of 24 to 64 bytes"),
        Profile::GlobalTopup if legacy => (Some(Secret::new(text)), ""),
        Profile::GlobalTopup => (
            (printable && text.len() == limits::GLOBALTOPUP_SECRET).then(|| Secret::new(text)),
            "must be 32 printable ASCII characters; an imported one of another form needs \"legacy_secret\": true",
        ),
    };
    if secret.is_none() {
        fields.invalid("secret", expected);
    }
    secret
}

/// A secret as its vendor puts it into a receiver.
fn secret_text(settings: &Settings) -> String {
    match settings.profile {
        Profile::Standard => wire::standard::secret_text(&settings.secret),
        Profile::GlobalTopup => String::from_utf8_lossy(settings.secret.expose()).into_owned(),
    }
}

/// The last four characters of a secret, by which its vendor knows it again.
pub fn secret_hint(settings: &Settings) -> String {
    let text = secret_text(settings);
    // Of a short imported secret, four characters would tell too much.
    let shown = text.char_indices().rev().nth(3).filter(|_| text.len() >= 16).map_or("", |(at, _)| &text[at..]);
    format!("…{shown}")
}
