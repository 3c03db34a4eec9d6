//! Settings: `config.toml` in the home, the environment (`DATAMESH_…`), and defaults.
//!
//! Flags come before the environment, the environment before the file, the file before the
//! defaults. A key that does not exist is an error that names the nearest one that does.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use datamesh_api::OperationError;
use datamesh_client::Compress;
use datamesh_core::Domain;
use datamesh_engine::CollectorConfig;
use datamesh_net::{Access, Bandwidth, Reach};
use datamesh_store::CollectionTerms;

use crate::bandwidth::{self, Plan, Terms};
use crate::home::Home;
use crate::presets;

mod keys;

pub(crate) use self::keys::parse_size;
use self::keys::{KEYS, Key, addresses, compression, rules};

const FILE: &str = "config.toml";

/// A setting as it counts now.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Its name.
    pub key: &'static str,
    /// Its value as text.
    pub value: String,
    /// Where the value comes from: `default`, `file` or `environment`.
    pub origin: String,
    /// What it is.
    pub about: &'static str,
}

/// The settings of the network as the program uses them.
#[derive(Debug, Clone)]
pub(crate) struct NetworkSettings {
    pub(crate) preset: &'static str,
    pub(crate) reach: Reach,
    pub(crate) access: Access,
}

/// The settings as the program uses them.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) network: NetworkSettings,
    pub(crate) bandwidth: Plan,
    pub(crate) discovery_interval: Duration,
    pub(crate) collection: CollectionTerms,
    pub(crate) collector: CollectorConfig,
    pub(crate) collection_interval: Duration,
    pub(crate) leases_interval: Duration,
    pub(crate) lease_days: Option<u32>,
    pub(crate) gossip_interval: Duration,
    pub(crate) offline_after: Duration,
    pub(crate) repair_grace: Duration,
    pub(crate) repair_interval: Duration,
    pub(crate) repair_rate: u64,
    pub(crate) keep: Option<u64>,
    pub(crate) younger_than: Option<Duration>,
    pub(crate) domain: Option<Domain>,
    pub(crate) listen: Vec<String>,
    pub(crate) operator: Option<String>,
    pub(crate) storage: Option<u64>,
    pub(crate) audit_period: Duration,
    pub(crate) audit_rate: u64,
    pub(crate) scrub_period: Duration,
    pub(crate) scrub_rate: u64,
    pub(crate) compress: Compress,
}

fn key(name: &str) -> Result<&'static Key, OperationError> {
    if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        return Ok(key);
    }
    let shown: String = name.chars().take(80).collect();
    let nearest = KEYS
        .iter()
        .max_by(|a, b| {
            let near = |key: &Key| strsim::jaro_winkler(key.name, name);
            near(a).total_cmp(&near(b))
        })
        .map_or("", |key| key.name);
    Err(OperationError::usage(format!("there is no setting \"{shown}\""))
        .hint(format!("did you mean {nearest}? All settings: datamesh config show")))
}

fn environment_name(key: &str) -> String {
    format!("DATAMESH_{}", key.to_uppercase().replace('.', "_"))
}

/// The file's settings by name.
fn read_file(home: &Home) -> Result<BTreeMap<&'static str, String>, OperationError> {
    let Some(bytes) = home.read(FILE)? else { return Ok(BTreeMap::new()) };
    settings_in(bytes, &home.file(FILE))
}

/// The settings in a file's bytes, by name.
fn settings_in(
    bytes: Vec<u8>,
    place: &Path,
) -> Result<BTreeMap<&'static str, String>, OperationError> {
    let text = String::from_utf8(bytes)
        .map_err(|_| OperationError::usage(format!("{} is not UTF-8 text", place.display())))?;
    let table: toml::Table = text.parse().map_err(|error| {
        OperationError::usage(format!("{} cannot be read: {error}", place.display()))
    })?;
    let mut flat = Vec::new();
    flatten("", &table, &mut flat)
        .map_err(|error| OperationError::usage(format!("{}: {error}", place.display())))?;
    let mut settings = BTreeMap::new();
    for (name, value) in flat {
        let key = key(&name).map_err(|error| OperationError {
            message: format!("{}: {}", place.display(), error.message),
            ..error
        })?;
        settings.insert(key.name, value);
    }
    Ok(settings)
}

/// Reads a file's bytes and checks each value, for the [fuzzer](crate::parsers).
pub(crate) fn check_bytes(bytes: &[u8]) -> bool {
    settings_in(bytes.to_vec(), Path::new(FILE)).is_ok_and(|settings| {
        KEYS.iter().all(|key| settings.get(key.name).is_none_or(|value| (key.check)(value).is_ok()))
    })
}

fn flatten(
    prefix: &str,
    table: &toml::Table,
    out: &mut Vec<(String, String)>,
) -> Result<(), String> {
    for (name, value) in table {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&name, inner, out)?,
            toml::Value::String(text) => out.push((name, text.clone())),
            toml::Value::Integer(number) => out.push((name, number.to_string())),
            _ => return Err(format!("{name} must be text")),
        }
    }
    Ok(())
}

/// All settings as they count now.
///
/// # Errors
/// [`ErrorKind::Usage`] where the file has an unknown key or a value that its key does not take.
pub fn show(home: &Home) -> Result<Vec<Setting>, OperationError> {
    let file = read_file(home)?;
    let mut settings = Vec::new();
    for key in KEYS {
        let environment = environment_name(key.name);
        let (value, origin) = match (std::env::var(&environment), file.get(key.name)) {
            (Ok(value), _) => (value, "environment"),
            (Err(_), Some(value)) => (value.clone(), "file"),
            (Err(_), None) => (key.default.to_owned(), "default"),
        };
        (key.check)(&value).map_err(|why| {
            OperationError::usage(format!("{} is \"{value}\" (from the {origin}): {why}", key.name))
        })?;
        settings.push(Setting {
            key: key.name,
            value,
            origin: origin.to_owned(),
            about: key.about,
        });
    }
    Ok(settings)
}

/// One setting as it counts now.
///
/// # Errors
/// [`ErrorKind::Usage`] for a key that does not exist.
pub fn get(home: &Home, name: &str) -> Result<Setting, OperationError> {
    let key = key(name)?;
    let found = show(home)?.into_iter().find(|setting| setting.key == key.name);
    found.ok_or_else(|| OperationError::usage("the setting is not there"))
}

/// Writes a setting to the file. A running service takes it at its next start.
///
/// # Errors
/// [`ErrorKind::Usage`] for a key that does not exist or a value that it does not take.
pub fn set(home: &Home, name: &str, value: &str) -> Result<(), OperationError> {
    let key = key(name)?;
    (key.check)(value)
        .map_err(|why| OperationError::usage(format!("{name} cannot be \"{value}\": {why}")))?;
    home.change(FILE, |bytes| {
        let mut settings = match bytes {
            Some(bytes) => settings_in(bytes, &home.file(FILE))?,
            None => BTreeMap::new(),
        };
        settings.insert(key.name, value.to_owned());
        let mut table = toml::Table::new();
        for (name, value) in settings {
            let (section, field) = name.split_once('.').unwrap_or(("", name));
            let entry = table
                .entry(section.to_owned())
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let toml::Value::Table(inner) = entry {
                inner.insert(field.to_owned(), toml::Value::String(value));
            }
        }
        Ok(table.to_string().into_bytes())
    })
}

/// A settings file that says what every setting means and has all of them at their defaults, commented out.
pub fn generate() -> String {
    let mut out =
        String::from("# Settings of a DataMesh home. What is commented out is at its default.\n");
    let mut section = "";
    for key in KEYS {
        let (begun, field) = key.name.split_once('.').unwrap_or(("", key.name));
        if begun != section {
            section = begun;
            out.push_str(&format!("\n[{section}]\n"));
        }
        let value = toml::Value::String(key.default.to_owned());
        out.push_str(&format!("# {}\n# {field} = {value}\n", key.about));
    }
    out
}

/// Whether a setting takes a value; if not, why.
///
/// # Errors
/// With the reason, or where there is no such setting.
pub fn check(name: &str, value: &str) -> Result<(), String> {
    let key = key(name).map_err(|error| error.message)?;
    (key.check)(value)
}

/// Where the settings of a home are.
pub fn file(home: &Home) -> std::path::PathBuf {
    home.file(FILE)
}

/// Checks the file and the environment.
///
/// # Errors
/// What [`show`] finds.
pub fn validate(home: &Home) -> Result<(), OperationError> {
    load(home).map(drop)
}

/// What the settings say of the network: what the preset switches on, and what is said beside it.
fn network(take: &mut impl FnMut(&str) -> String) -> Result<NetworkSettings, OperationError> {
    let name = take("network.preset");
    let preset =
        presets::preset(&name).ok_or_else(|| OperationError::usage(format!("no preset {name}")))?;
    let usual = &preset.reach;
    let mut switch = |key: &str, usual: bool| match take(key).as_str() {
        "" => usual,
        text => text == "on",
    };
    let reach = Reach {
        dht: switch("network.dht", usual.dht),
        mdns: switch("network.mdns", usual.mdns),
        upnp: switch("network.upnp", usual.upnp),
        probe: switch("network.probe", usual.probe),
        relays: switch("network.relays", usual.relays),
        serve_relay: switch("network.serve_relay", usual.serve_relay),
        external: Vec::new(),
    };
    let external = addresses(&take("network.external")).map(str::to_owned).collect();
    let access = Access {
        allow: rules(&take("network.allow")).map_err(OperationError::usage)?,
        deny: rules(&take("network.deny")).map_err(OperationError::usage)?,
    };
    Ok(NetworkSettings { preset: preset.name, reach: Reach { external, ..reach }, access })
}

/// The settings as the program uses them.
pub(crate) fn load(home: &Home) -> Result<Config, OperationError> {
    let mut values: BTreeMap<&str, String> =
        show(home)?.into_iter().map(|setting| (setting.key, setting.value)).collect();
    let mut take = |key: &str| values.remove(key).unwrap_or_default();
    let duration = |text: String| {
        humantime::parse_duration(&text)
            .map_err(|error| OperationError::usage(format!("\"{text}\": {error}")))
    };
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let network = network(&mut take)?;
    let usual = Terms {
        bandwidth: Bandwidth {
            up: bandwidth::parse_rate(&take("bandwidth.up")).map_err(OperationError::usage)?,
            down: bandwidth::parse_rate(&take("bandwidth.down")).map_err(OperationError::usage)?,
        },
        metered: take("bandwidth.metered") == "on",
    };
    Ok(Config {
        network,
        bandwidth: Plan::parse(&take("bandwidth.schedule"), usual)
            .map_err(OperationError::usage)?,
        discovery_interval: duration(take("discovery.interval"))?,
        collection: CollectionTerms {
            trash_ms: ms(duration(take("collection.trash"))?),
            expired_ms: ms(duration(take("collection.expired"))?),
            tombstone_ms: ms(duration(take("collection.tombstone"))?),
        },
        collector: CollectorConfig {
            clock_bound_ms: ms(duration(take("collection.clock"))?),
            reconcile_ms: ms(duration(take("collection.reconcile"))?),
        },
        collection_interval: duration(take("collection.interval"))?,
        leases_interval: duration(take("leases.interval"))?,
        lease_days: text(take("service.lease_days")).and_then(|days| days.parse().ok()),
        gossip_interval: duration(take("membership.gossip_interval"))?,
        offline_after: duration(take("membership.offline_after"))?,
        repair_grace: duration(take("repair.grace"))?,
        repair_interval: duration(take("repair.interval"))?,
        repair_rate: parse_size(&take("repair.rate")).map_err(OperationError::usage)?,
        keep: text(take("retention.keep")).and_then(|count| count.parse().ok()),
        younger_than: match text(take("retention.younger_than")) {
            Some(age) => Some(duration(age)?),
            None => None,
        },
        domain: match text(take("service.domain")) {
            Some(domain) => Some(domain.parse().map_err(OperationError::usage)?),
            None => None,
        },
        listen: addresses(&take("service.listen")).map(str::to_owned).collect(),
        operator: text(take("service.operator")),
        storage: match text(take("service.storage")) {
            Some(size) => Some(parse_size(&size).map_err(OperationError::usage)?),
            None => None,
        },
        audit_period: duration(take("audit.period"))?,
        audit_rate: parse_size(&take("audit.rate")).map_err(OperationError::usage)?,
        scrub_period: duration(take("scrub.period"))?,
        scrub_rate: parse_size(&take("scrub.rate")).map_err(OperationError::usage)?,
        compress: compression(&take("storage.compression")).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn a_wrong_key_names_the_nearest() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().to_owned());
        let error = set(&home, "service.storge", "1GiB").unwrap_err();
        assert_eq!(error.kind, datamesh_api::ErrorKind::Usage);
        assert!(error.hint.unwrap().contains("service.storage"));
        assert!(set(&home, "service.storage", "many").is_err());
        assert!(set(&home, "service.storage", "0").is_err());
        assert!(set(&home, "membership.gossip_interval", "0s").is_err());
        assert!(set(&home, "audit.period", "1ms").is_err());
        assert!(set(&home, "scrub.rate", "0").is_err());
        assert!(set(&home, "scrub.rate", "").is_err());
        assert!(set(&home, "storage.compression", "lots").is_err());
        assert!(set(&home, "service.listen", "/ip4/127.0.0.1/tcp/0, garbage").is_err());
        set(&home, "service.listen", "/ip4/127.0.0.1/tcp/0, /ip6/::1/tcp/4001").unwrap();
        set(&home, "service.storage", "8GiB").unwrap();
        assert_eq!(load(&home).unwrap().storage, Some(8 << 30));
        assert_eq!(load(&home).unwrap().compress, Compress::Auto);
        set(&home, "storage.compression", "off").unwrap();
        assert_eq!(load(&home).unwrap().compress, Compress::Off);
        assert_eq!(get(&home, "service.storage").unwrap().origin, "file");
    }

    #[test]
    fn a_preset_switches_on_what_no_setting_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().to_owned());
        let network = || load(&home).unwrap().network;
        assert!(network().reach.upnp && network().reach.dht);
        set(&home, "network.preset", "local").unwrap();
        let reach = network().reach;
        assert_eq!((reach.mdns, reach.upnp, reach.dht), (true, false, false));
        set(&home, "network.mdns", "off").unwrap();
        set(&home, "network.dht", "on").unwrap();
        let reach = network().reach;
        assert_eq!((reach.mdns, reach.upnp, reach.dht), (false, false, true));
        assert!(set(&home, "network.preset", "fast").is_err());
        assert!(set(&home, "network.dht", "yes").is_err());
        assert!(set(&home, "network.deny", "10.0.0.0/99").is_err());
        assert!(set(&home, "network.external", "example.org").is_err());
        assert!(set(&home, "bandwidth.up", "1KiB").is_err());
        assert!(set(&home, "bandwidth.schedule", "always").is_err());
        set(&home, "network.deny", "10.0.0.0/8, 192.0.2.7").unwrap();
        assert_eq!(network().access.deny.len(), 2);
    }

    #[test]
    fn an_unknown_key_in_the_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().to_owned());
        home.write(FILE, b"[membership]\noffline_aftr = \"1m\"\n").unwrap();
        let error = validate(&home).unwrap_err();
        assert!(error.hint.unwrap().contains("membership.offline_after"));
    }
}
