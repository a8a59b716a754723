use std::fs;

use casemate::{Access, CallError, ErrorKind, Folder, Grants};
use serde_json::{Value, json};

use crate::support::{adversarial, folder, run, tool_error, toolbox, value};

#[test]
fn by_default_a_guest_sees_nothing() {
    assert_eq!(value(adversarial().call("environment", json!({}))), json!([]));
    assert_eq!(value(adversarial().call("arguments", json!({}))), json!([]));
    assert_eq!(value(adversarial().call("stdin", json!({}))), "");
    let error = tool_error(run(adversarial().call("open-raw", json!({"path": "."}))).result.unwrap_err());
    assert_eq!(error.value, "no folder was granted");
}

#[test]
fn a_guest_sees_what_was_granted_and_nothing_else() {
    let grants = Grants::none()
        .env("A", "1")
        .and_then(|grants| grants.env("B", "x=y"))
        .and_then(|grants| grants.env("A", "2"))
        .unwrap()
        .arg("first")
        .arg("")
        .stdin("line\nand bytes \u{fffd}");
    let see = |name: &str| value(adversarial().call(name, json!({})).grants(grants.clone()));
    assert_eq!(see("environment"), json!([["A", "2"], ["B", "x=y"]]));
    assert_eq!(see("arguments"), json!(["first", ""]));
    assert_eq!(see("stdin"), "line\nand bytes \u{fffd}");
}

#[test]
fn a_large_standard_input_arrives_whole() {
    let text = "0123456789abcdef".repeat(1 << 16);
    assert_eq!(value(adversarial().call("stdin", json!({})).grants(Grants::none().stdin(text.clone()))), text);
}

#[test]
fn a_granted_folder_is_there_under_its_guest_path() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "text").unwrap();
    fs::create_dir(dir.path().join("b")).unwrap();
    let grants = folder(dir.path(), "/deep/down", Access::ReadWrite)
        .folder(Folder::new(dir.path(), "/again", Access::ReadOnly).unwrap())
        .unwrap();
    let call = |name: &str, input: Value| value(adversarial().call(name, input).grants(grants.clone()));
    assert_eq!(call("list-dir", json!({"path": "/deep/down"})), json!(["a", "b"]));
    assert_eq!(call("read", json!({"path": "/again/a"})), "text");
    assert_eq!(call("write", json!({"path": "/deep/down/b/new", "text": "written"})), Value::Null);
    assert_eq!(fs::read_to_string(dir.path().join("b/new")).unwrap(), "written");
    assert_eq!(call("remove", json!({"path": "/deep/down/b/new"})), Value::Null);
    assert!(!dir.path().join("b/new").exists());
}

#[test]
fn grants_read_from_a_document_work_relative_to_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("data")).unwrap();
    fs::write(dir.path().join("data/file"), "text").unwrap();
    let grants = Grants::from_toml("[env]\nA = '1'\n[[folders]]\nhost = 'data'\nguest = '/data'\n").unwrap();
    let grants = grants.relative_to(dir.path());
    assert_eq!(value(adversarial().call("read", json!({"path": "/data/file"})).grants(grants.clone())), "text");
    assert_eq!(value(adversarial().call("environment", json!({})).grants(grants)), json!([["A", "1"]]));
}

#[test]
fn a_folder_that_does_not_exist_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let report =
        run(toolbox().call("list-dir", json!({"path": "/d"})).grants(folder(&missing, "/d", Access::ReadOnly)));
    let error = report.result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let CallError::Folder(error) = error else { panic!("{error:?}") };
    assert_eq!(error.folder, missing);
}

#[test]
fn a_file_is_no_folder() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let report =
        run(toolbox().call("list-dir", json!({"path": "/d"})).grants(folder(file.path(), "/d", Access::ReadOnly)));
    assert!(matches!(report.result, Err(CallError::Folder(_))), "{report:?}");
}

#[test]
fn the_toolbox_without_a_folder_hints_at_the_grant() {
    let error = tool_error(run(toolbox().call("grep", json!({"pattern": "x", "path": "/src"}))).result.unwrap_err());
    assert!(error.hint.is_some_and(|hint| hint.contains("--dir HOST::GUEST")), "{error:?}");
    // A tool that fails for another reason, with a folder, gets no hint.
    let dir = tempfile::tempdir().unwrap();
    let call =
        toolbox().call("read-file", json!({"path": "/d/missing"})).grants(folder(dir.path(), "/d", Access::ReadOnly));
    assert_eq!(tool_error(run(call).result.unwrap_err()).hint, None);
}

#[test]
fn the_toolbox_searches_a_tree() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("a.rs"), "fn one() {}\nfn two() {}\n").unwrap();
    fs::write(dir.path().join("sub/b.rs"), "// fn three\nfn three() {}\n").unwrap();
    fs::write(dir.path().join("ignored.rs"), "fn four() {}\n").unwrap();
    fs::write(dir.path().join(".gitignore"), "ignored.rs\n").unwrap();
    let grants = folder(dir.path(), "/src", Access::ReadOnly);
    let call = |name: &str, input: Value| value(toolbox().call(name, input).grants(grants.clone()));
    let found = call("grep", json!({"pattern": "^fn t", "path": "/src"}));
    let lines: Vec<_> = found["matches"].as_array().unwrap().iter().map(|hit| (&hit["path"], &hit["line"])).collect();
    assert_eq!(lines, [(&json!("/src/a.rs"), &json!(2)), (&json!("/src/sub/b.rs"), &json!(2))]);
    let globbed = call("glob", json!({"pattern": "*.rs", "path": "/src"}));
    assert_eq!(globbed["paths"], json!(["/src/a.rs", "/src/sub/b.rs"]));
    assert_eq!(call("read-file", json!({"path": "/src/a.rs", "start-line": 2}))["text"], "fn two() {}\n");
}

#[test]
fn the_toolbox_writes_and_edits() {
    let dir = tempfile::tempdir().unwrap();
    let grants = folder(dir.path(), "/w", Access::ReadWrite);
    let call = |name: &str, input: Value| run(toolbox().call(name, input).grants(grants.clone())).result;
    let written = call("write-file", json!({"path": "/w/new/file", "content": "one\none\n"})).unwrap();
    assert_eq!(written["change"], "created");
    let edit = json!({"path": "/w/new/file", "old": "one", "new": "two"});
    let error = call("edit-file", edit).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ToolError, "{error}");
    let edit = json!({"path": "/w/new/file", "old": "one", "new": "two", "all": true});
    assert_eq!(call("edit-file", edit).unwrap()["replacements"], 2);
    assert_eq!(fs::read_to_string(dir.path().join("new/file")).unwrap(), "two\ntwo\n");
}
