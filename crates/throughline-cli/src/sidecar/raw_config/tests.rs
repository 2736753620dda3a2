use super::*;

fn parse(text: &str) -> Result<RawValues, Vec<String>> {
    file::parse_values("f.yaml", text, &command()).map(|file| file.values)
}

fn sidecar_arguments(arguments: &[&str]) -> Vec<OsString> {
    ["throughline", "sidecar"]
        .iter()
        .chain(arguments)
        .map(OsString::from)
        .collect()
}

fn no_environment(_: &str) -> Option<String> {
    None
}

#[test]
fn file_values_become_the_text_that_would_be_typed() {
    let read = parse(
        "kafka: [a:9092, b:9093]\nsample: 0.25\ntransparent: true\nbroker_tls: false\n\
         service: null\ntopics:\n  - topic: a-*\n    inject: false\n",
    );
    let text = |text: &str| Some(text.to_owned());
    let expected = [
        ("kafka", text("a:9092,b:9093")),
        ("sample", text("0.25")),
        ("topics", text(r#"[{"topic":"a-*","inject":false}]"#)),
        ("transparent", None),
    ];
    assert_eq!(
        read.unwrap(),
        expected.map(|(key, value)| (key.to_owned(), value)).into()
    );
    assert_eq!(parse("# nothing\n").unwrap().len(), 0);
}

#[test]
fn all_unknown_keys_are_reported_with_the_nearest_one() {
    let errors = parse(
        "kafak: a:9092\nbroker-tls-ca: x\nwonderful: 1\nconfig: y\nlisten: {a: 1}\n\
         transparent: 1\n",
    )
    .unwrap_err();
    let expected = [
        "f.yaml: unknown key kafak; did you mean kafka?",
        "f.yaml: unknown key broker-tls-ca; did you mean broker_tls_ca?",
        "f.yaml: unknown key wonderful; see throughline sidecar --help, and write _ for -",
        "f.yaml: unknown key config; see throughline sidecar --help, and write _ for -",
        "f.yaml: listen has a nested value; write it in one line",
        "f.yaml: transparent is a switch; write true or false",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn malformed_yaml_and_duplicate_keys_are_reported_with_their_file() {
    for text in ["kafka: [a", "kafka: a:1\nkafka: b:1\n", "- a\n"] {
        let errors = parse(text).unwrap_err();
        assert!(
            errors.len() == 1 && errors[0].starts_with("f.yaml: "),
            "{errors:?}"
        );
    }
}

#[test]
fn arguments_take_precedence_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidecar.yaml").display().to_string();
    std::fs::write(&path, "kafka: file:9092\nsample: 0.5\ntransparent: true\n").unwrap();
    let arguments = sidecar_arguments(&["--config", &path, "--kafka", "argument:9092"]);
    let config = RawConfig::load(&arguments, &no_environment).unwrap();
    assert_eq!(
        (config.options.kafka.as_deref(), &*config.options.sample),
        (Some("argument:9092"), "0.5")
    );
    assert!(config.options.transparent && config.warnings.is_empty());
    assert_eq!(config.name("kafka"), "--kafka");
    assert_eq!(config.name("sample"), format!("sample in {path}"));
    assert_eq!(
        (config.name("connect_timeout"), config.is_set("drain")),
        ("--connect-timeout".to_owned(), false)
    );
}

#[test]
fn invalid_escape_in_resource_attributes_is_one_warning() {
    let load = |text: &str| {
        let environment =
            |name: &str| (name == "OTEL_RESOURCE_ATTRIBUTES").then(|| text.to_owned());
        RawConfig::load(&sidecar_arguments(&[]), &environment)
            .unwrap()
            .warnings
    };
    assert!(load("a=x%20y").is_empty());
    let warnings = load("a=100%,b=%zz");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("%25"), "{warnings:?}");
}

#[test]
fn former_names_of_options_work_with_one_warning_each() {
    let load = |arguments: &[&str], variables: &[(&str, &str)]| {
        let environment = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let config = RawConfig::load(&sidecar_arguments(arguments), &environment).unwrap();
        let options = &config.options;
        (
            options.response_timeout.clone(),
            options.correlation_keys.clone(),
            config.name("response_timeout"),
            config.warnings,
        )
    };
    let text = str::to_owned;

    let (timeout, keys, name, warnings) = load(&["--answer-timeout=3s", "--keys", "[]"], &[]);
    assert_eq!(
        (&*timeout, &*keys, &*name),
        ("3s", "[]", "--response-timeout")
    );
    let expected = [
        "--answer-timeout has been renamed; write it as --response-timeout",
        "--keys has been renamed; write it as --correlation-keys",
    ];
    assert_eq!(warnings, expected);

    let former = ("THROUGHLINE_SIDECAR_ANSWER_TIMEOUT", "4s");
    let (timeout, _, name, warnings) = load(&[], &[former]);
    assert_eq!((timeout, name), (text("4s"), text(former.0)));
    let expected = "THROUGHLINE_SIDECAR_ANSWER_TIMEOUT has been renamed; \
                    write it as THROUGHLINE_SIDECAR_RESPONSE_TIMEOUT";
    assert_eq!(warnings, [expected]);
    let (timeout, ..) = load(&["--response-timeout", "5s"], &[former]);
    assert_eq!(timeout, "5s", "an argument takes precedence");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidecar.yaml").display().to_string();
    std::fs::write(
        &path,
        "answer_timeout: 6s\nkeys:\n  - name: order\n    header: x\n",
    )
    .unwrap();
    let (timeout, keys, _, warnings) = load(&["--config", &path], &[]);
    assert_eq!(timeout, "6s");
    assert_eq!(keys, r#"[{"name":"order","header":"x"}]"#);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let (timeout, ..) = load(&["--config", &path], &[former]);
    assert_eq!(timeout, "4s", "a variable takes precedence");

    let errors = parse("answer_timeout: 1s\nresponse_timeout: 1s\n").unwrap_err();
    assert!(errors[0].contains("set twice"), "{errors:?}");
}

#[test]
fn every_renamed_option_has_its_former_name_as_an_alias() {
    let command = command();
    for (former, present) in RENAMED {
        let argument = command
            .get_arguments()
            .find(|argument| argument.get_id() == present)
            .unwrap();
        let aliases = argument.get_all_aliases().unwrap_or_default();
        assert!(aliases.contains(&&*former.replace('_', "-")), "{former}");
    }
}
