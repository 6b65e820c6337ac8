//! From flags, environment and profile to a client for one bucket.
//!
//! The order is that of the AWS CLI: keys in the environment, then the profile, then what the machine gives (web
//! identity, container, instance role). A profile that is named by flag comes before the environment.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey as Key};
use object_store::{Attribute, Attributes, BackoffConfig, Certificate, ClientOptions, RetryConfig};

use super::options::{Checksum, Encryption, StoreOptions};
use super::profile::{Profile, Variables};
use super::tap::{Seen, Tap};

/// The library's 30 s for a whole request is too little for a large part on a thin line.
const TIMEOUT: Duration = Duration::from_secs(180);
/// A machine without an instance role has no metadata service, and nobody wants to wait minutes to hear that.
const ROLE_LIMIT: Duration = Duration::from_secs(8);

/// The variables of this process that matter.
pub(super) fn variables() -> Variables {
    let all =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    all.filter(|(name, value)| !value.is_empty() && (name == "HOME" || name.starts_with("AWS_"))).collect()
}

/// The client, and what its answers tell. Nothing is sent.
///
/// # Errors
/// A sentence that says which setting is wrong; never a secret.
pub(super) fn open(
    bucket: &str,
    options: &StoreOptions,
    variables: &Variables,
) -> Result<(AmazonS3, Arc<Seen>), String> {
    let settings = Settings::gather(options, variables)?;
    // One request per file: not every store knows bulk deletes, some judge them by the bucket's policy instead of the
    // file's, and a refusal hides inside an answer of success.
    let seen = Arc::<Seen>::default();
    let mut builder = settings.builder.with_bucket_name(bucket).with_disable_bulk_delete(true);
    builder = builder.with_http_connector(Tap(Arc::clone(&seen)));
    if builder.get_config_value(&Key::Checksum).is_none() || options.checksum.is_some() {
        builder = match options.checksum.unwrap_or(Checksum::Sha256) {
            Checksum::Sha256 => builder.with_checksum_algorithm(object_store::aws::Checksum::SHA256),
            Checksum::Crc64Nvme => builder.with_checksum_algorithm(object_store::aws::Checksum::CRC64NVME),
            Checksum::Off => builder,
        };
    }
    let endpoint = match (&settings.endpoint, options.virtual_hosted) {
        (Some(endpoint), true) => Some(with_bucket(endpoint, bucket)?),
        (endpoint, _) => endpoint.clone(),
    };
    if options.virtual_hosted {
        builder = builder.with_virtual_hosted_style_request(true);
    }
    let mut client = client_options(options, variables)?;
    if let Some(endpoint) = &endpoint {
        client = client.with_allow_http(endpoint.starts_with("http://"));
        // This one wins over all other ways to name an endpoint.
        builder = builder.with_config(Key::S3Endpoint, endpoint);
    }
    builder = encrypt(builder.with_client_options(client), options.encryption.as_ref())?;
    if !settings.has_keys {
        // The library asks for the keys of a role as patiently as for everything else.
        let patient = retries(options.retry_for.min(ROLE_LIMIT));
        let keys = builder.clone().with_retry(patient).build().map_err(|e| e.to_string())?;
        builder = builder.with_credentials(keys.credentials().clone());
    }
    let client = builder.with_retry(retries(options.retry_for)).build().map_err(|e| e.to_string())?;
    Ok((client, seen))
}

/// What data files carry.
pub(super) fn attributes(options: &StoreOptions) -> Attributes {
    let class = options.storage_class.iter().map(|class| (Attribute::StorageClass, class.clone()));
    class.collect()
}

struct Settings {
    builder: AmazonS3Builder,
    endpoint: Option<String>,
    /// Keys that do not have to be fetched first.
    has_keys: bool,
}

impl Settings {
    fn gather(options: &StoreOptions, variables: &Variables) -> Result<Self, String> {
        let profile = Profile::find(options.profile.as_deref(), variables)?;
        let mut builder = AmazonS3Builder::new();
        for (name, value) in variables {
            let Ok(key) = name.to_ascii_lowercase().parse::<Key>() else { continue };
            let is_key = matches!(key, Key::AccessKeyId | Key::SecretAccessKey | Key::Token);
            if !(is_key && options.profile.is_some() || matches!(key, Key::Client(_))) {
                builder = builder.with_config(key, value);
            }
        }
        let unsigned = builder.get_config_value(&Key::SkipSignature).is_some_and(|skip| skip == "true");
        let in_environment =
            [Key::AccessKeyId, Key::SecretAccessKey].iter().any(|key| builder.get_config_value(key).is_some());
        let mut has_keys = in_environment || unsigned;
        if let (false, Some(profile)) = (has_keys, &profile) {
            (builder, has_keys) = sign_in(builder, profile, options, variables)?;
        }
        let setting = |name: &str| profile.as_ref().and_then(|profile| profile.get(name)).map(str::to_owned);
        let given = builder.get_config_value(&Key::Region);
        if let Some(region) = options.region.clone().or(given).or_else(|| setting("region")) {
            builder = builder.with_region(region);
        }
        let given = || builder.get_config_value(&Key::S3Endpoint).or_else(|| builder.get_config_value(&Key::Endpoint));
        let endpoint = options.endpoint.clone().or_else(given).or_else(|| setting("endpoint_url"));
        if let Some(endpoint) = &endpoint
            && !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme))
        {
            return Err(format!("the endpoint {endpoint} must begin with http:// or https://"));
        }
        Ok(Self { builder, endpoint, has_keys })
    }
}

/// Keys of the profile, or the role that it takes by web identity.
fn sign_in(
    builder: AmazonS3Builder,
    profile: &Profile,
    options: &StoreOptions,
    variables: &Variables,
) -> Result<(AmazonS3Builder, bool), String> {
    if let Some(keys) = profile.keys()? {
        let builder = builder.with_access_key_id(keys.access_key).with_secret_access_key(keys.secret_key);
        return Ok((keys.token.into_iter().fold(builder, |builder, token| builder.with_token(token)), true));
    }
    if let Some((file, role)) = profile.web_identity() {
        let builder = builder.with_config(Key::WebIdentityTokenFile, file).with_config(Key::RoleArn, role);
        let session = profile.get("role_session_name");
        return Ok((session.into_iter().fold(builder, |b, name| b.with_config(Key::RoleSessionName, name)), false));
    }
    // A default profile that nobody asked for is no reason to fail where the machine gives a role.
    let named = options.profile.is_some() || variables.contains_key("AWS_PROFILE");
    let from_machine = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]
        .iter()
        .chain(&["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
        .any(|variable| variables.contains_key(*variable));
    match profile.unsupported() {
        Some(why) if named || !from_machine => Err(why),
        _ => Ok((builder, false)),
    }
}

/// `https://HOST` becomes `https://BUCKET.HOST`, which is what the library expects of an endpoint in this style.
fn with_bucket(endpoint: &str, bucket: &str) -> Result<String, String> {
    let (scheme, host) = endpoint.split_once("://").ok_or_else(|| format!("the endpoint {endpoint} has no scheme"))?;
    let host = host.trim_end_matches('/');
    Ok(if host.starts_with(&format!("{bucket}.")) {
        format!("{scheme}://{host}")
    } else {
        format!("{scheme}://{bucket}.{host}")
    })
}

fn client_options(options: &StoreOptions, variables: &Variables) -> Result<ClientOptions, String> {
    let mut client = ClientOptions::new().with_timeout(TIMEOUT);
    for (name, value) in variables {
        if let Ok(Key::Client(key)) = name.to_ascii_lowercase().parse() {
            client = client.with_config(key, value);
        }
    }
    if let Some(timeout) = options.timeout {
        client = client.with_timeout(timeout);
    }
    let bundle = variables.get("AWS_CA_BUNDLE").map(Path::new);
    if let Some(file) = options.ca.as_deref().or(bundle) {
        let wrong = |why: String| format!("cannot use {} as certificate authority: {why}", file.display());
        let pem = std::fs::read(file).map_err(|e| wrong(e.to_string()))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| wrong(e.to_string()))?;
        if certificates.is_empty() {
            return Err(wrong("it holds no certificate in PEM form".to_owned()));
        }
        client = certificates.into_iter().fold(client, ClientOptions::with_root_certificate);
    }
    Ok(client)
}

fn encrypt(builder: AmazonS3Builder, encryption: Option<&Encryption>) -> Result<AmazonS3Builder, String> {
    let kind = |builder: AmazonS3Builder, kind: &str| {
        let key: Key = "aws_server_side_encryption".parse().map_err(|e: object_store::Error| e.to_string())?;
        Ok::<_, String>(builder.with_config(key, kind))
    };
    match encryption {
        None => Ok(builder),
        Some(Encryption::Server) => kind(builder, "AES256"),
        Some(Encryption::Kms { key, bucket_key }) => {
            let builder = match key {
                Some(key) => builder.with_sse_kms_encryption(key),
                None => kind(builder, "aws:kms")?,
            };
            Ok(if *bucket_key { builder.with_bucket_key(true) } else { builder })
        }
        Some(Encryption::Customer { key_file }) => Ok(builder.with_ssec_encryption(customer_key(key_file)?)),
    }
}

/// The key in base64. The library would name it in its own message about a wrong one.
fn customer_key(file: &Path) -> Result<String, String> {
    let wrong = |why: &str| format!("cannot use {} as encryption key: {why}", file.display());
    let text = std::fs::read_to_string(file).map_err(|e| wrong(&e.to_string()))?;
    let key = text.trim();
    match BASE64.decode(key.as_bytes()) {
        Ok(bytes) if bytes.len() == 32 => Ok(key.to_owned()),
        _ => Err(wrong("it must hold 32 bytes in base64, such as `openssl rand -base64 32` writes")),
    }
}

/// Time is the limit. The library counts retries too, so the count must not end first.
fn retries(limit: Duration) -> RetryConfig {
    let backoff = BackoffConfig::default();
    let max_retries = if limit.is_zero() { 0 } else { 10_000 };
    RetryConfig { backoff, max_retries, retry_timeout: limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Key, region and endpoint that come out.
    fn settled(options: &StoreOptions, pairs: &[(&str, &str)]) -> Result<[Option<String>; 4], String> {
        let settings = Settings::gather(options, &variables(pairs))?;
        let value = |key| settings.builder.get_config_value(&key);
        Ok([value(Key::AccessKeyId), value(Key::Token), value(Key::Region), settings.endpoint.clone()])
    }

    fn some(values: [&str; 4]) -> [Option<String>; 4] {
        values.map(|value| (!value.is_empty()).then(|| value.to_owned()))
    }

    #[test]
    fn flags_then_environment_then_profile() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("credentials");
        let text = "[default]\naws_access_key_id=PK\naws_secret_access_key=s\naws_session_token=PT\nregion=pr\n\
                    endpoint_url=http://profile\n[other]\naws_access_key_id=OK\naws_secret_access_key=s\n[sso]\nsso_session=x\n";
        std::fs::write(&file, text).unwrap();
        let file = ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap());
        let keys = [("AWS_ACCESS_KEY_ID", "EK"), ("AWS_SECRET_ACCESS_KEY", "s"), file];
        let place = [("AWS_REGION", "er"), ("AWS_DEFAULT_REGION", "no"), ("AWS_ENDPOINT_URL", "http://env"), file];
        let none = StoreOptions::default();
        assert_eq!(settled(&none, &[file]).unwrap(), some(["PK", "PT", "pr", "http://profile"]));
        assert_eq!(settled(&none, &keys).unwrap(), some(["EK", "", "pr", "http://profile"]));
        assert_eq!(settled(&none, &place).unwrap(), some(["PK", "PT", "er", "http://env"]));
        let named = StoreOptions { profile: Some("other".into()), ..StoreOptions::default() };
        assert_eq!(settled(&named, &keys).unwrap(), some(["OK", "", "", ""]));
        let placed = StoreOptions {
            endpoint: Some("https://flag".into()),
            region: Some("fr".into()),
            ..StoreOptions::default()
        };
        assert_eq!(settled(&placed, &place).unwrap(), some(["PK", "PT", "fr", "https://flag"]));
        let specific = [place.as_slice(), &[("AWS_ENDPOINT_URL_S3", "http://s3")]].concat();
        assert_eq!(settled(&none, &specific).unwrap()[3].as_deref(), Some("http://s3"));
        let sso = StoreOptions { profile: Some("sso".into()), ..StoreOptions::default() };
        assert!(settled(&sso, &keys).unwrap_err().contains("not supported"));
        assert!(settled(&none, &[("AWS_ENDPOINT_URL", "s3.example")]).unwrap_err().contains("http://"));
    }

    #[test]
    fn a_bucket_moves_into_the_host_name() {
        assert_eq!(with_bucket("https://s3.example:9000/", "b").unwrap(), "https://b.s3.example:9000");
        assert_eq!(with_bucket("https://b.s3.example", "b").unwrap(), "https://b.s3.example");
    }

    #[test]
    fn secrets_are_checked_without_being_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, fits) in [
            ("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n", true),
            ("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWZ=", false),
            ("MDEyMzQ1Njc4OWFiY2RlZg==", false),
            ("secret", false),
        ] {
            std::fs::write(file.path(), text).unwrap();
            match customer_key(file.path()) {
                Ok(key) => assert!(fits && key == text.trim()),
                Err(why) => assert!(!fits && !why.contains(text.trim()) && why.contains("base64"), "{why}"),
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let keys = variables(&[("AWS_ACCESS_KEY_ID", "EK"), ("AWS_SECRET_ACCESS_KEY", "s")]);
        let ca = StoreOptions { ca: Some("/nowhere/ca.pem".into()), ..StoreOptions::default() };
        assert!(open("b", &ca, &keys).unwrap_err().contains("/nowhere/ca.pem"));
        let empty = tempfile::NamedTempFile::new().unwrap();
        let ca = StoreOptions { ca: Some(empty.path().into()), ..StoreOptions::default() };
        assert!(open("b", &ca, &keys).unwrap_err().contains("no certificate"));
        let half = variables(&[("AWS_ACCESS_KEY_ID", "EK")]);
        assert!(open("b", &StoreOptions::default(), &half).is_err());
        assert!(open("b", &StoreOptions::default(), &keys).is_ok());
    }
}
