//! Profiles of the AWS tools: the two files in `~/.aws`.
//!
//! The format is that of the AWS CLI (<https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html>): sections
//! in brackets, `name = value`, comments with `#` or `;`, indented lines belong to the setting above. In `config` a
//! section is `[profile NAME]` except `[default]`, in `credentials` it is `[NAME]`. A setting of `credentials` wins.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Variables of the environment by name; empty ones count as unset.
pub type Variables = BTreeMap<String, String>;

/// The settings of one profile. Holds secrets, so it has no `Debug`.
pub(super) struct Profile {
    name: String,
    settings: BTreeMap<String, String>,
}

/// What a profile signs with; as secret as the profile.
#[derive(PartialEq, Eq)]
pub(super) struct Keys<'a> {
    pub(super) access_key: &'a str,
    pub(super) secret_key: &'a str,
    pub(super) token: Option<&'a str>,
}

/// Settings by which a profile gets its keys in a way that is not supported.
const UNSUPPORTED: [(&str, &str); 6] = [
    ("credential_process", "runs a program for its keys"),
    ("sso_session", "signs in with IAM Identity Center"),
    ("sso_start_url", "signs in with IAM Identity Center"),
    ("source_profile", "assumes a role"),
    ("credential_source", "assumes a role"),
    ("role_arn", "assumes a role"),
];

impl Profile {
    /// The profile that these variables name; `wanted` wins over `AWS_PROFILE`, and without both it is `default`.
    /// `None` when nobody named one and there is no `default`.
    ///
    /// # Errors
    /// A sentence: a named profile is in neither file, or a file cannot be read.
    pub(super) fn find(wanted: Option<&str>, variables: &Variables) -> Result<Option<Self>, String> {
        let named = wanted.or_else(|| variables.get("AWS_PROFILE").map(String::as_str));
        let name = named.unwrap_or("default");
        let config = file(variables, "AWS_CONFIG_FILE", "config");
        let credentials = file(variables, "AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let mut settings = BTreeMap::new();
        let mut found = false;
        for (path, in_config) in [(&config, true), (&credentials, false)] {
            let Some(text) = path.as_ref().map(read).transpose()?.flatten() else { continue };
            if let Some(section) = section(&text, name, in_config) {
                found = true;
                settings.extend(section);
            }
        }
        if !found && named.is_some() {
            let shown = |path: &Option<PathBuf>| path.as_ref().map_or("-".into(), |path| path.display().to_string());
            return Err(format!(
                "there is no profile {name} in {} or {}; name another with --s3-profile or AWS_PROFILE",
                shown(&config),
                shown(&credentials)
            ));
        }
        Ok(found.then(|| Self { name: name.to_owned(), settings }))
    }

    /// A setting that is there and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Access key, secret key and session token.
    ///
    /// # Errors
    /// A sentence when only one of the keys is there.
    pub(super) fn keys(&self) -> Result<Option<Keys<'_>>, String> {
        match (self.get("aws_access_key_id"), self.get("aws_secret_access_key")) {
            (Some(access_key), Some(secret_key)) => {
                Ok(Some(Keys { access_key, secret_key, token: self.get("aws_session_token") }))
            }
            (None, None) => Ok(None),
            _ => Err(format!(
                "profile {} has only one of aws_access_key_id and aws_secret_access_key; give it both",
                self.name
            )),
        }
    }

    /// Token file and role of a profile that signs in by web identity.
    pub(super) fn web_identity(&self) -> Option<(&str, &str)> {
        Some((self.get("web_identity_token_file")?, self.get("role_arn")?))
    }

    /// Why the profile cannot be used, when it gets its keys in a way that is not supported.
    pub(super) fn unsupported(&self) -> Option<String> {
        let (setting, what) = UNSUPPORTED.iter().find(|(setting, _)| self.get(setting).is_some())?;
        Some(format!(
            "profile {} {what} ({setting}), which is not supported; let the AWS CLI do it: \
             eval \"$(aws configure export-credentials --profile {} --format env)\"",
            self.name, self.name
        ))
    }
}

fn file(variables: &Variables, variable: &str, name: &str) -> Option<PathBuf> {
    let home = || variables.get("HOME").map(|home| PathBuf::from(home).join(".aws").join(name));
    match variables.get(variable) {
        Some(path) => match (path.strip_prefix("~/"), variables.get("HOME")) {
            (Some(rest), Some(home)) => Some(PathBuf::from(home).join(rest)),
            _ => Some(path.into()),
        },
        None => home(),
    }
}

/// The file's text; `None` when there is no such file, which is the usual case.
fn read(path: &PathBuf) -> Result<Option<String>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

fn section(text: &str, wanted: &str, in_config: bool) -> Option<BTreeMap<String, String>> {
    let mut settings = None;
    let mut inside = false;
    for line in text.lines() {
        let indented = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default().trim();
            let name = match header.strip_prefix("profile").filter(|rest| rest.starts_with([' ', '\t'])) {
                Some(name) if in_config => name.trim().trim_matches(['"', '\'']),
                _ => header,
            };
            // In `config` any other section (`[services x]`, `[x]`) is not a profile.
            inside = name == wanted && (!in_config || header == "default" || header != name);
            if inside {
                settings.get_or_insert_with(BTreeMap::new);
            }
        } else if inside
            && !indented
            && let (Some(settings), Some((name, value))) = (settings.as_mut(), line.split_once('='))
        {
            let value = value.split(" #").next().unwrap_or_default().trim();
            settings.insert(name.trim().to_ascii_lowercase(), value.to_owned());
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "# keys\n[default]\naws_access_key_id = AK\naws_secret_access_key=a/b+c==\n\n[work]\n\
                               aws_access_key_id=WK\nAWS_SECRET_ACCESS_KEY = ws\naws_session_token = wt\n[half]\n\
                               aws_access_key_id = x\n";
    const CONFIG: &str = "[default]\nregion = eu-north-1\ns3 =\n  endpoint_url = http://nested\n[profile work]\nregion=us-west-2 \
                          # there\nendpoint_url = http://s3.example:9000\n[profile sso]\nsso_session = x\n[services work]\n\
                          region = no\n[profile \"two words\"]\nregion = two\n[profile proc]\ncredential_process = /x\n";

    fn variables(folder: &std::path::Path, more: &[(&str, &str)]) -> Variables {
        let aws = folder.join(".aws");
        std::fs::create_dir_all(&aws).unwrap();
        std::fs::write(aws.join("credentials"), CREDENTIALS).unwrap();
        std::fs::write(aws.join("config"), CONFIG).unwrap();
        let home = [("HOME", folder.to_str().unwrap())];
        home.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn signs(profile: &Profile) -> (&str, &str, Option<&str>) {
        let keys = profile.keys().unwrap().unwrap();
        (keys.access_key, keys.secret_key, keys.token)
    }

    #[test]
    fn profiles_are_put_together_from_both_files() {
        let home = tempfile::tempdir().unwrap();
        let find = |wanted, more: &[_]| Profile::find(wanted, &variables(home.path(), more)).unwrap().unwrap();
        let default = find(None, &[]);
        assert_eq!(signs(&default), ("AK", "a/b+c==", None));
        assert_eq!((default.get("region"), default.get("endpoint_url")), (Some("eu-north-1"), None));
        for profile in [find(Some("work"), &[("AWS_PROFILE", "sso")]), find(None, &[("AWS_PROFILE", "work")])] {
            assert_eq!(signs(&profile), ("WK", "ws", Some("wt")));
            assert_eq!(profile.get("region"), Some("us-west-2"));
            assert_eq!(profile.get("endpoint_url"), Some("http://s3.example:9000"));
        }
        assert_eq!(find(Some("two words"), &[]).get("region"), Some("two"));
        assert!(find(Some("half"), &[]).keys().err().unwrap().contains("half"));
    }

    #[test]
    fn what_is_not_supported_is_said() {
        let home = tempfile::tempdir().unwrap();
        for (name, setting) in [("sso", "sso_session"), ("proc", "credential_process")] {
            let profile = Profile::find(Some(name), &variables(home.path(), &[])).unwrap().unwrap();
            let why = profile.unsupported().unwrap();
            assert!(why.contains(name) && why.contains(setting) && why.contains("not supported"), "{why}");
        }
        let why = Profile::find(Some("nobody"), &variables(home.path(), &[])).err().unwrap();
        assert!(why.contains("nobody") && why.contains("credentials"), "{why}");
    }

    #[test]
    fn the_files_may_lie_elsewhere_or_not_exist() {
        let home = tempfile::tempdir().unwrap();
        let elsewhere = home.path().join("keys");
        std::fs::write(&elsewhere, "[default]\naws_access_key_id=E\naws_secret_access_key=s\n").unwrap();
        let place = [("AWS_SHARED_CREDENTIALS_FILE", elsewhere.to_str().unwrap())];
        let profile = Profile::find(None, &variables(home.path(), &place)).unwrap().unwrap();
        assert_eq!(signs(&profile).0, "E");
        let none = Variables::from([("HOME".to_owned(), "/nowhere".to_owned())]);
        assert!(Profile::find(None, &none).unwrap().is_none());
        assert!(Profile::find(None, &Variables::new()).unwrap().is_none());
    }
}
