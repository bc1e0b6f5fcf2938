//! The layers, and what is said about mistakes.

use std::io::Write;
use std::path::Path;

use super::keys::{KEYS, variable};
use super::*;

fn none() -> impl Iterator<Item = (String, String)> {
    std::iter::empty()
}

fn environment(pairs: &[(&str, &str)]) -> std::vec::IntoIter<(String, String)> {
    let own = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    own.collect::<Vec<_>>().into_iter()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn with(file: &tempfile::NamedTempFile) -> Flags {
    Flags { config: Some(file.path().to_owned()), ..Flags::default() }
}

fn refusal(text: &str) -> String {
    load(&with(&file(text)), none()).unwrap_err().message
}

#[test]
fn nothing_set_is_the_defaults() {
    assert_eq!(load(&Flags::default(), none()).unwrap(), Config::default());
}

#[test]
fn each_layer_lies_over_the_one_before() {
    let file = file(
        "listen = \"127.0.0.1:1\"\ndata = \"/file\"\n[log]\nformat = \"json\"\nfilter = \"debug\"\n",
    );
    let environment =
        || environment(&[("STRONGROOM_LISTEN", "127.0.0.1:2"), ("STRONGROOM_LOG_FILTER", "warn")]);
    let mut flags = with(&file);
    let config = load(&flags, environment()).unwrap();
    assert_eq!(config.listen.port(), 2);
    assert_eq!(config.log, Log { format: LogFormat::Json, filter: "warn".to_owned() });
    assert_eq!(config.data, Path::new("/file"));
    flags.listen = Some(([127, 0, 0, 1], 3).into());
    flags.data = Some("/flag".into());
    let config = load(&flags, environment()).unwrap();
    assert_eq!((config.listen.port(), config.data.as_path()), (3, Path::new("/flag")));
}

#[test]
fn an_unknown_key_names_the_nearest_right_one() {
    for (text, wrong, nearest) in [
        ("lisen = \"127.0.0.1:1\"", "lisen", "listen"),
        ("[log]\nfromat = \"json\"", "log.fromat", "log.format"),
        ("[storage]\nmanifest_cach = 1", "storage.manifest_cach", "storage.manifest_cache"),
        ("[limit]\nmax_requests = 1", "limit", "limits"),
    ] {
        let refused = refusal(text);
        let says = format!("there is no setting {wrong}; did you mean {nearest}?");
        assert!(refused.contains(&says), "{refused}");
    }
    assert!(refusal("quite_another_thing = 1").contains("config check"));
}

#[test]
fn an_unknown_variable_names_the_nearest_right_one() {
    let refused = load(&Flags::default(), environment(&[("STRONGROOM_LISTN", "x")]));
    let refused = refused.unwrap_err().message;
    assert!(refused.contains("STRONGROOM_LISTN; did you mean STRONGROOM_LISTEN?"), "{refused}");
}

#[test]
fn variables_that_kubernetes_makes_and_those_that_are_no_settings_are_let_be() {
    let environment = environment(&[
        ("STRONGROOM_SERVICE_HOST", "10.0.0.1"),
        ("STRONGROOM_PORT", "tcp://10.0.0.1:5000"),
        ("STRONGROOM_PORT_5000_TCP_ADDR", "10.0.0.1"),
        ("STRONGROOM_BOOTSTRAP_PASSWORD", "x"),
        ("OTHER", "x"),
    ]);
    assert_eq!(load(&Flags::default(), environment).unwrap(), Config::default());
}

#[test]
fn a_wrong_value_is_told_with_what_it_should_be() {
    assert!(refusal("listen = \"here\"").contains("listen"));
    assert!(refusal("[uploads]\nlease = \"24\"").contains("length of time"));
    assert!(refusal("[tls]\ncertificate = \"a\"").contains("tls.key"));
    assert!(refusal("listen = ").contains("no TOML"));
    assert!(refusal("[s3]\nkms_key = \"k\"").contains("sse-kms"));
    assert!(
        refusal("[s3]\nbucket = \"b\"\n[redirects]\nexpires = \"1h\"").contains("delete_delay")
    );
    for (section, name) in
        [("limits", "max_requests"), ("limits", "header_timeout"), ("guesses", "person")]
    {
        let zero = if name.ends_with("timeout") { "\"0s\"" } else { "0" };
        let refused = refusal(&format!("[{section}]\n{name} = {zero}"));
        assert!(refused.contains(&format!("{section}.{name} must be")), "{refused}");
    }
    for (hash, says) in [
        ("hash_memory = \"1MiB\"", "identity.hash_memory"),
        ("hash_memory = \"1GiB\"", "identity.hash_memory"),
        ("hash_passes = 0", "identity.hash_passes"),
        ("hashes_at_once = 0", "identity.hashes_at_once"),
    ] {
        let refused = refusal(&format!("[identity]\n{hash}"));
        assert!(refused.contains(says), "{refused}");
    }
    for (signups, says) in [
        ("queue_url = \"sign-ups\"", "signups.queue_url: \"sign-ups\" is no address"),
        ("user_pool_id = \"eu-central-1_a\"", "signups.user_pool_id needs signups.queue_url"),
        ("queue_url = \"https://q/1/s\"\npoll = \"1m\"", "signups.poll must be 1s to 20s"),
    ] {
        let refused = refusal(&format!("[signups]\n{signups}"));
        assert!(refused.contains(says), "{refused}");
    }
    assert!(refusal("[metrics]\nlisten = \"127.0.0.1:5000\"").contains("metrics.listen"));
    assert!(refusal("[uploads]\nmax_manifest = \"1GiB\"").contains("uploads.max_manifest"));
    let number = environment(&[("STRONGROOM_LIMITS_MAX_REQUESTS", "many")]);
    let refused = load(&Flags::default(), number).unwrap_err().message;
    assert!(refused.contains("STRONGROOM_LIMITS_MAX_REQUESTS must be a number"), "{refused}");
}

#[test]
fn every_kind_of_value_comes_from_the_environment() {
    let environment = environment(&[
        ("STRONGROOM_TRUSTED_PROXIES", "10.0.0.0/8, ::1/128"),
        ("STRONGROOM_IDENTITY_TOKEN_ENDPOINT", "false"),
        ("STRONGROOM_LIMITS_MAX_REQUESTS", "7"),
        ("STRONGROOM_STORAGE_RESERVE", "1GiB"),
    ]);
    let config = load(&Flags::default(), environment).unwrap();
    assert_eq!(config.trusted_proxies.len(), 2);
    assert!(!config.identity.token_endpoint);
    assert_eq!(config.limits.max_requests, 7);
    assert_eq!(config.storage.reserve, Size::mib(1024));
}

#[test]
fn the_keys_are_those_of_the_settings_and_no_two_share_a_variable() {
    let all = Config {
        metrics: Metrics { listen: Some(([127, 0, 0, 1], 9).into()) },
        tls: Tls { certificate: Some("c".into()), key: Some("k".into()) },
        identity: Identity { master_key_file: Some("m".into()), ..Identity::default() },
        cognito: Cognito {
            issuer: Some("i".to_owned()),
            client_ids: vec!["c".to_owned()],
            client_secret_file: Some("f".into()),
            endpoint: Some("e".to_owned()),
            jwks_url: Some("j".to_owned()),
            operator_group: Some("o".to_owned()),
        },
        organisations: Organisations { per_person: 1, quota: Some(Size::mib(1)) },
        s3: S3 {
            bucket: Some("b".to_owned()),
            prefix: Some("p".to_owned()),
            region: Some("r".to_owned()),
            endpoint: Some("e".to_owned()),
            kms_key: Some("k".to_owned()),
            storage_class: Some("s".to_owned()),
            ..S3::default()
        },
        postgres: Postgres {
            url: Some("u".to_owned()),
            password_file: Some("f".into()),
            ..Postgres::default()
        },
        signups: Signups {
            queue_url: Some("q".to_owned()),
            dead_letter_queue_url: Some("d".to_owned()),
            user_pool_id: Some("p".to_owned()),
            region: Some("r".to_owned()),
            endpoint: Some("e".to_owned()),
            quota: Some("1GB".parse().unwrap()),
            ..Signups::default()
        },
        ..Config::default()
    };
    let table: toml::Table = all.to_toml().parse().unwrap();
    let mut found = Vec::new();
    for (name, value) in table {
        match value {
            toml::Value::Table(section) => {
                found.extend(section.keys().map(|key| format!("{name}.{key}")));
            }
            _ => found.push(name),
        }
    }
    found.sort();
    let mut keys: Vec<_> = KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
    keys.sort();
    assert_eq!(found, keys);
    let mut variables: Vec<_> = keys.iter().map(|key| variable(key)).collect();
    variables.sort();
    variables.dedup();
    assert_eq!(variables.len(), keys.len());
}

#[test]
fn what_config_check_prints_is_a_file_that_sets_the_same() {
    let mut config = Config { listen: ([10, 0, 0, 1], 80).into(), ..Config::default() };
    config.workload_issuers.push(WorkloadIssuer {
        name: "ci".to_owned(),
        issuer: "https://ci.example".to_owned(),
        audience: Some("strongroom".to_owned()),
        jwks_url: None,
    });
    let again = load(&with(&file(&config.to_toml())), none()).unwrap();
    assert_eq!(again, config);
}

#[test]
fn a_password_has_no_place_in_the_address_of_a_database() {
    for bad in [
        "postgresql://me:secret@db/strongroom",
        "postgres://db/strongroom?sslmode=require&password=secret",
        "host=db user=me password=secret",
    ] {
        let refused = refusal(&format!("[postgres]\nurl = \"{bad}\""));
        assert!(refused.contains("postgres.password_file"), "{refused}");
        assert!(!refused.contains("secret"), "{refused}");
    }
    let good = file("[postgres]\nurl = \"postgresql://me@db:5432/strongroom?sslmode=require\"");
    let loaded = load(&with(&good), environment(&[("STRONGROOM_POSTGRES_PASSWORD", "x")]));
    assert!(loaded.unwrap().postgres.url.is_some());
}

const POOL: &str = "issuer = \"https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Pool\"\n\
                    client_ids = [\"abc\"]\n";

#[test]
fn a_user_pool_and_issuers_of_workloads_are_read_and_checked() {
    let good = file(&format!(
        "[cognito]\n{POOL}endpoint = \"http://127.0.0.1:1/\"\n\
         [[workload_issuers]]\nname = \"ci\"\nissuer = \"https://ci.example\"\n\
         [[workload_issuers]]\nname = \"own\"\nissuer = \"https://own.example\"\n\
         audience = \"a\"\njwks_url = \"http://localhost:1/keys\"\n"
    ));
    let config = load(&with(&good), none()).unwrap();
    assert_eq!(config.cognito.settings().unwrap().client_ids, ["abc"]);
    assert_eq!(config.workload_issuers.len(), 2);
    for (text, says) in [
        ("[cognito]\nclient_ids = [\"a\"]".to_owned(), "no cognito.issuer"),
        (format!("[cognito]\n{}", POOL.replace("client_ids", "#")), "set client_ids"),
        (format!("[cognito]\n{}", POOL.replace("/eu-west-1_Pool", "")), "REGION"),
        (format!("[cognito]\n{}", POOL.replace("https", "http")), "no address to ask"),
        (format!("[cognito]\n{POOL}jwks_url = \"http://elsewhere.example/\""), "no address to ask"),
        ("[[workload_issuers]]\nname = \"ci\"".to_owned(), "issuer"),
        (
            "[[workload_issuers]]\nname = \"ci\"\nissuer = \"https://a.example\"\nurl = \"x\""
                .to_owned(),
            "url",
        ),
        (
            "[[workload_issuers]]\nname = \"C I\"\nissuer = \"https://a.example\"".to_owned(),
            "workload_issuers",
        ),
        (
            format!(
                "[cognito]\n{POOL}[signups]\nqueue_url = \"https://q/1/s\"\n\
                 user_pool_id = \"eu-west-1_Other\""
            ),
            "another pool's",
        ),
        ("[issuer_keys]\nlook_each = \"0s\"".to_owned(), "issuer_keys.look_each"),
        ("[issuer_keys]\nmax_age = \"1m\"".to_owned(), "issuer_keys.refresh_after"),
        ("[issuer_keys]\nclock_skew = \"1h\"".to_owned(), "issuer_keys.clock_skew"),
    ] {
        let refused = refusal(&text);
        assert!(refused.contains(says), "{text}: {refused}");
    }
    let tables = environment(&[("STRONGROOM_WORKLOAD_ISSUERS", "ci")]);
    let refused = load(&Flags::default(), tables).unwrap_err().message;
    assert!(refused.contains("file of the settings"), "{refused}");
}
