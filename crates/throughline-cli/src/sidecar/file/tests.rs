use super::*;

fn given(text: &str) -> Result<BTreeMap<String, Option<String>>, Vec<String>> {
    values("f.yaml", text)
}

#[test]
fn values_are_read_as_they_would_be_typed() {
    let read = given(
        "kafka: [a:9092, b:9093]\nsample: 0.25\ntransparent: true\nbroker_tls: false\nservice: null\n\
         topics:\n  - topic: a-*\n    inject: false\n",
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
    assert_eq!(given("# nothing\n").unwrap().len(), 0);
}

#[test]
fn all_keys_that_do_not_exist_are_told_with_what_was_meant() {
    let told = given("kafak: a:9092\nbroker-tls-ca: x\nwonderful: 1\nconfig: y\nlisten: {a: 1}\ntransparent: 1\n")
        .unwrap_err();
    let expected = [
        "f.yaml: there is no key kafak; did you mean kafka?",
        "f.yaml: there is no key broker-tls-ca; did you mean broker_tls_ca?",
        "f.yaml: there is no key wonderful; see throughline sidecar --help, and write _ for -",
        "f.yaml: there is no key config; see throughline sidecar --help, and write _ for -",
        "f.yaml: listen has a value within a value; write it in one line",
        "f.yaml: transparent is a switch; write true or false",
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_is_no_yaml_or_says_a_thing_twice_is_told_with_its_place() {
    for text in ["kafka: [a", "kafka: a:1\nkafka: b:1\n", "- a\n"] {
        let told = given(text).unwrap_err();
        assert!(
            told.len() == 1 && told[0].starts_with("f.yaml: "),
            "{told:?}"
        );
    }
}

#[test]
fn an_argument_goes_before_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidecar.yaml").display().to_string();
    std::fs::write(&path, "kafka: file:9092\nsample: 0.5\ntransparent: true\n").unwrap();
    let arguments = [
        "throughline",
        "sidecar",
        "--config",
        &path,
        "--kafka",
        "argument:9092",
    ]
    .map(OsString::from);
    let told = Told::new(&arguments).unwrap();
    assert_eq!(
        (told.options.kafka.as_deref(), &*told.options.sample),
        (Some("argument:9092"), "0.5")
    );
    assert!(told.options.transparent);
    assert_eq!(told.name("kafka"), "--kafka");
    assert_eq!(told.name("sample"), format!("sample in {path}"));
    assert_eq!(
        (told.name("connect_timeout"), told.is_given("drain")),
        ("--connect-timeout".to_owned(), false)
    );
}
