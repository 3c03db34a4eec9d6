//! Settings: `config.toml` in the home, the environment (`DATAMESH_…`), and defaults.
//!
//! Flags come before the environment, the environment before the file, the file before the
//! defaults. A key that does not exist is an error that names the nearest one that does.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use datamesh_api::{ErrorKind, OperationError};
use datamesh_client::Compress;
use datamesh_core::{Domain, Genesis};
use datamesh_engine::CollectorConfig;
use datamesh_net::{Access, Bandwidth, Reach, Rule};
use datamesh_store::CollectionTerms;

use crate::bandwidth::{self, Plan, Terms};
use crate::home::Home;
use crate::presets::{self, PRESETS};

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

/// A setting that exists.
struct Key {
    name: &'static str,
    default: &'static str,
    about: &'static str,
    check: fn(&str) -> Result<(), String>,
}

fn any_text(_: &str) -> Result<(), String> {
    Ok(())
}

/// Least time between exchanges: below it nodes would do nothing else.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

fn is_duration(text: &str) -> Result<(), String> {
    humantime::parse_duration(text).map(drop).map_err(|error| error.to_string())
}

fn is_duration_or_nothing(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { is_duration(text) }
}

fn is_count(text: &str) -> Result<(), String> {
    match text.parse::<u64>() {
        _ if text.is_empty() => Ok(()),
        Ok(0) => Err("the current version is always kept".to_owned()),
        Ok(_) => Ok(()),
        Err(_) => Err("it must be a whole number".to_owned()),
    }
}

fn is_lease_days(text: &str) -> Result<(), String> {
    match text.parse::<u32>() {
        _ if text.is_empty() => Ok(()),
        Ok(days) if days <= Genesis::LEASE_DAYS_MAX => Ok(()),
        _ => Err(format!("it must be 0 to {} days", Genesis::LEASE_DAYS_MAX)),
    }
}

fn is_interval(text: &str) -> Result<(), String> {
    match humantime::parse_duration(text) {
        Ok(interval) if interval >= INTERVAL_MIN => Ok(()),
        Ok(_) => Err(format!("it must be at least {}", humantime::format_duration(INTERVAL_MIN))),
        Err(error) => Err(error.to_string()),
    }
}

/// Least time for audits and scrubs: below it they would never rest.
const PERIOD_MIN: Duration = Duration::from_secs(1);

fn is_period(text: &str) -> Result<(), String> {
    match humantime::parse_duration(text) {
        Ok(period) if period >= PERIOD_MIN => Ok(()),
        Ok(_) => Err(format!("it must be at least {}", humantime::format_duration(PERIOD_MIN))),
        Err(error) => Err(error.to_string()),
    }
}

fn is_rate(text: &str) -> Result<(), String> {
    match parse_size(text)? {
        0 => Err("a rate of zero would never end".to_owned()),
        _ => Ok(()),
    }
}

fn is_size(text: &str) -> Result<(), String> {
    match text {
        "" => Ok(()),
        text => match parse_size(text)? {
            0 => Err("a node that stores nothing is none".to_owned()),
            _ => Ok(()),
        },
    }
}

fn compression(text: &str) -> Option<Compress> {
    match text {
        "auto" => Some(Compress::Auto),
        "off" => Some(Compress::Off),
        _ => None,
    }
}

fn is_compression(text: &str) -> Result<(), String> {
    compression(text).map(drop).ok_or_else(|| "it is auto or off".to_owned())
}

fn is_rate_or_none(text: &str) -> Result<(), String> {
    parse_size(text).map(drop)
}

fn is_listen(text: &str) -> Result<(), String> {
    addresses(text).try_for_each(|address| {
        datamesh_net::check_listen(address).map_err(|error| error.to_string())
    })
}

/// The parts of a list of addresses.
fn addresses(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|address| !address.is_empty())
}

fn is_domain(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    text.parse::<Domain>().map(drop).map_err(|error| error.to_string())
}

fn is_external(text: &str) -> Result<(), String> {
    addresses(text).try_for_each(|address| {
        datamesh_net::check_dial(address).map_err(|error| error.to_string())
    })
}

/// Most rules of who may connect in one list.
const RULES_MAX: usize = 1024;

fn rules(text: &str) -> Result<Vec<Rule>, String> {
    let rules: Vec<Rule> = addresses(text)
        .map(|rule| rule.parse().map_err(|error: datamesh_net::RuleError| error.to_string()))
        .collect::<Result<_, _>>()?;
    if rules.len() > RULES_MAX {
        return Err(format!("a list has at most {RULES_MAX} rules"));
    }
    Ok(rules)
}

fn is_rules(text: &str) -> Result<(), String> {
    rules(text).map(drop)
}

fn is_preset(text: &str) -> Result<(), String> {
    match presets::preset(text) {
        Some(_) => Ok(()),
        None => {
            let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
            Err(format!("presets are {}", names.join(", ")))
        }
    }
}

fn is_switch(text: &str) -> Result<(), String> {
    match text {
        "on" | "off" => Ok(()),
        _ => Err("it is on or off".to_owned()),
    }
}

fn is_switch_or_nothing(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { is_switch(text) }
}

fn is_bandwidth(text: &str) -> Result<(), String> {
    bandwidth::parse_rate(text).map(drop)
}

fn is_schedule(text: &str) -> Result<(), String> {
    Plan::parse(text, Terms::default()).map(drop)
}

/// Bytes from text such as `8GiB`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>().map(|size| size.as_u64())
}

const KEYS: &[Key] = &[
    Key {
        name: "audit.period",
        default: "1d",
        about: "time in which each segment is audited once; the same on all nodes of a mesh",
        check: is_period,
    },
    Key {
        name: "audit.rate",
        default: "8MiB",
        about: "most bytes a second that other nodes read for this node's audits",
        check: is_rate,
    },
    Key {
        name: "bandwidth.down",
        default: "",
        about: "most bytes a second that this node receives of content; no limit if empty",
        check: is_bandwidth,
    },
    Key {
        name: "bandwidth.metered",
        default: "off",
        about: "bytes cost money: repair moves only what has no margin left",
        check: is_switch,
    },
    Key {
        name: "bandwidth.schedule",
        default: "",
        about: "what counts when, for instance: mon-fri 08:00-18:00 up=1MiB down=4MiB; sat,sun 22:00-06:00 metered",
        check: is_schedule,
    },
    Key {
        name: "bandwidth.up",
        default: "",
        about: "most bytes a second that this node sends of content; no limit if empty",
        check: is_bandwidth,
    },
    Key {
        name: "collection.clock",
        default: "10m",
        about: "nothing is removed while the clock differs from that of most members by more",
        check: is_duration,
    },
    Key {
        name: "collection.expired",
        default: "30d",
        about: "time after the end of a lease before its shards go to the trash",
        check: is_duration,
    },
    Key {
        name: "collection.interval",
        default: "30m",
        about: "time between passes of the collector",
        check: is_interval,
    },
    Key {
        name: "collection.reconcile",
        default: "24h",
        about: "time between comparisons of all segments with the releases that other holders know",
        check: is_interval,
    },
    Key {
        name: "collection.tombstone",
        default: "400d",
        about: "time for which a release is kept after the shards that it ended",
        check: is_duration,
    },
    Key {
        name: "collection.trash",
        default: "7d",
        about: "time for which a released shard waits in the trash, where a renewal takes it out",
        check: is_duration,
    },
    Key {
        name: "discovery.interval",
        default: "10m",
        about: "time between searches for members at bootstrap peers, in the hash table and nearby",
        check: is_interval,
    },
    Key {
        name: "leases.interval",
        default: "24h",
        about: "time between looks at when the account's leases end, where they do; what is due is renewed",
        check: is_interval,
    },
    Key {
        name: "membership.gossip_interval",
        default: "20s",
        about: "time between exchanges of adverts with a random member",
        check: is_interval,
    },
    Key {
        name: "membership.offline_after",
        default: "5m",
        about: "time without a word after which a member counts as silent",
        check: is_duration,
    },
    Key {
        name: "network.allow",
        default: "",
        about: "peer ids and networks such as 10.0.0.0/8 that alone may connect, with commas; everybody if empty",
        check: is_rules,
    },
    Key {
        name: "network.deny",
        default: "",
        about: "peer ids and networks that may not connect, with commas",
        check: is_rules,
    },
    Key {
        name: "network.dht",
        default: "",
        about: "on or off: distributed hash table of addresses (Kademlia); as the preset if empty",
        check: is_switch_or_nothing,
    },
    Key {
        name: "network.external",
        default: "",
        about: "multiaddrs at which this node can be reached from outside, with commas",
        check: is_external,
    },
    Key {
        name: "network.mdns",
        default: "",
        about: "on or off: search of the local network (mDNS); as the preset if empty",
        check: is_switch_or_nothing,
    },
    Key {
        name: "network.preset",
        default: "public",
        about: "public, local, test or custom; see datamesh networks",
        check: is_preset,
    },
    Key {
        name: "network.probe",
        default: "",
        about: "on or off: peers find out whether this node can be reached (AutoNAT); as the preset if empty",
        check: is_switch_or_nothing,
    },
    Key {
        name: "network.relays",
        default: "",
        about: "on or off: relays where this node cannot be reached; as the preset if empty",
        check: is_switch_or_nothing,
    },
    Key {
        name: "network.serve_relay",
        default: "",
        about: "on or off: be a relay for others where this node can be reached; as the preset if empty",
        check: is_switch_or_nothing,
    },
    Key {
        name: "network.upnp",
        default: "",
        about: "on or off: ask the router for a port (UPnP); as the preset if empty",
        check: is_switch_or_nothing,
    },
    Key {
        name: "repair.grace",
        default: "4h",
        about: "how long one silent holder of a segment is waited for before its shard is rebuilt",
        check: is_duration,
    },
    Key {
        name: "repair.interval",
        default: "1h",
        about: "time between looks at all segments that this node holds shards of",
        check: is_interval,
    },
    Key {
        name: "repair.rate",
        default: "32MiB",
        about: "bytes a second that repair may move; 0 for only what has no margin left",
        check: is_rate_or_none,
    },
    Key {
        name: "retention.keep",
        default: "",
        about: "newest versions of each file that cleanup keeps; all if this and the next are empty",
        check: is_count,
    },
    Key {
        name: "retention.younger_than",
        default: "",
        about: "age, for instance 90d, below which cleanup keeps every version",
        check: is_duration_or_nothing,
    },
    Key {
        name: "scrub.period",
        default: "30d",
        about: "time in which this node reads all its shards for rot",
        check: is_period,
    },
    Key {
        name: "scrub.rate",
        default: "16MiB",
        about: "most bytes a second that a scrub reads where it is behind",
        check: is_rate,
    },
    Key {
        name: "service.domain",
        default: "",
        about: "failure domain of this node, for instance zone-a/host-1; asked for once",
        check: is_domain,
    },
    Key {
        name: "service.lease_days",
        default: "",
        about: "days after which a lease ends, where this node founds a mesh; no end if empty or 0",
        check: is_lease_days,
    },
    Key {
        name: "service.listen",
        default: "/ip4/0.0.0.0/tcp/0, /ip4/0.0.0.0/udp/0/quic-v1",
        about: "multiaddrs to listen on, separated by commas",
        check: is_listen,
    },
    Key {
        name: "service.operator",
        default: "",
        about: "who answers for this node; asked for once",
        check: any_text,
    },
    Key {
        name: "service.storage",
        default: "",
        about: "bytes offered for shards, for instance 8GiB; half of the free space if empty",
        check: is_size,
    },
    Key {
        name: "storage.compression",
        default: "auto",
        about: "auto compresses what is stored where a sample of it shrinks; off never does",
        check: is_compression,
    },
];

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

fn usage(message: impl ToString) -> OperationError {
    OperationError::new(ErrorKind::Usage, message)
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
    Err(usage(format!("there is no setting \"{shown}\""))
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
        .map_err(|_| usage(format!("{} is not UTF-8 text", place.display())))?;
    let table: toml::Table = text
        .parse()
        .map_err(|error| usage(format!("{} cannot be read: {error}", place.display())))?;
    let mut flat = Vec::new();
    flatten("", &table, &mut flat)
        .map_err(|error| usage(format!("{}: {error}", place.display())))?;
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
            usage(format!("{} is \"{value}\" (from the {origin}): {why}", key.name))
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
    found.ok_or_else(|| usage("the setting is not there"))
}

/// Writes a setting to the file. A running service takes it at its next start.
///
/// # Errors
/// [`ErrorKind::Usage`] for a key that does not exist or a value that it does not take.
pub fn set(home: &Home, name: &str, value: &str) -> Result<(), OperationError> {
    let key = key(name)?;
    (key.check)(value).map_err(|why| usage(format!("{name} cannot be \"{value}\": {why}")))?;
    let mut settings = read_file(home)?;
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
    home.write(FILE, table.to_string().as_bytes())
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
    let preset = presets::preset(&name).ok_or_else(|| usage(format!("no preset {name}")))?;
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
        allow: rules(&take("network.allow")).map_err(usage)?,
        deny: rules(&take("network.deny")).map_err(usage)?,
    };
    Ok(NetworkSettings { preset: preset.name, reach: Reach { external, ..reach }, access })
}

/// The settings as the program uses them.
pub(crate) fn load(home: &Home) -> Result<Config, OperationError> {
    let mut values: BTreeMap<&str, String> =
        show(home)?.into_iter().map(|setting| (setting.key, setting.value)).collect();
    let mut take = |key: &str| values.remove(key).unwrap_or_default();
    let duration = |text: String| {
        humantime::parse_duration(&text).map_err(|error| usage(format!("\"{text}\": {error}")))
    };
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let network = network(&mut take)?;
    let usual = Terms {
        bandwidth: Bandwidth {
            up: bandwidth::parse_rate(&take("bandwidth.up")).map_err(usage)?,
            down: bandwidth::parse_rate(&take("bandwidth.down")).map_err(usage)?,
        },
        metered: take("bandwidth.metered") == "on",
    };
    Ok(Config {
        network,
        bandwidth: Plan::parse(&take("bandwidth.schedule"), usual).map_err(usage)?,
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
        repair_rate: parse_size(&take("repair.rate")).map_err(usage)?,
        keep: text(take("retention.keep")).and_then(|count| count.parse().ok()),
        younger_than: match text(take("retention.younger_than")) {
            Some(age) => Some(duration(age)?),
            None => None,
        },
        domain: match text(take("service.domain")) {
            Some(domain) => Some(domain.parse().map_err(usage)?),
            None => None,
        },
        listen: addresses(&take("service.listen")).map(str::to_owned).collect(),
        operator: text(take("service.operator")),
        storage: match text(take("service.storage")) {
            Some(size) => Some(parse_size(&size).map_err(usage)?),
            None => None,
        },
        audit_period: duration(take("audit.period"))?,
        audit_rate: parse_size(&take("audit.rate")).map_err(usage)?,
        scrub_period: duration(take("scrub.period"))?,
        scrub_rate: parse_size(&take("scrub.rate")).map_err(usage)?,
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
        assert_eq!(error.kind, ErrorKind::Usage);
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
