use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use casemate::{Access, CallError, Denied, Folder, Grants, LimitKind, Refused, RefusedAction};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{adversarial, exceeded, limits, run, tool_error, toolbox, value};

/// A folder to grant, a folder beside it, and links between them that the host made.
struct World {
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        for folder in ["granted/sub", "outside", "other"] {
            fs::create_dir_all(world.path(folder)).unwrap();
        }
        fs::write(world.path("granted/file.txt"), "inside").unwrap();
        fs::write(world.path("outside/secret.txt"), "secret").unwrap();
        symlink(world.path("outside/secret.txt"), world.path("granted/absolute-link")).unwrap();
        symlink("../outside/secret.txt", world.path("granted/relative-link")).unwrap();
        symlink("../outside", world.path("granted/folder-link")).unwrap();
        symlink("relative-link", world.path("granted/link-to-link")).unwrap();
        world
    }

    fn path(&self, below: &str) -> PathBuf {
        // Where the system's temporary folder is itself a link, refusals name what it leads to.
        self.dir.path().canonicalize().unwrap().join(below)
    }

    fn grants(&self, access: Access) -> Grants {
        Grants::none().folder(self.folder("granted", "/d", access)).unwrap()
    }

    fn folder(&self, host: &str, guest: &str, access: Access) -> Folder {
        Folder::new(self.path(host), guest, access).unwrap()
    }

    /// Everything in it, with what it holds and when it was changed.
    fn snapshot(&self) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
        let mut all = BTreeMap::new();
        note(self.dir.path(), &mut all);
        all
    }

    /// Tries one escape: the guest sees the error `seen`, the call is denied, and the world stays as it was.
    #[track_caller]
    fn refuses(&self, grants: &Grants, name: &str, input: Value, seen: &str) -> Refused {
        let before = self.snapshot();
        let report = run(adversarial().call(name, input).grants(grants.clone()));
        let denied = denied(report.result);
        assert_eq!(tool_error(*denied.cause).value, seen);
        assert_eq!(self.snapshot(), before);
        assert_eq!(denied.refused.len(), 1, "{:?}", denied.refused);
        denied.refused.into_iter().next().unwrap()
    }
}

fn note(path: &Path, all: &mut BTreeMap<PathBuf, (Vec<u8>, SystemTime)>) {
    let metadata = path.symlink_metadata().unwrap();
    let content = if metadata.is_symlink() {
        fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
    } else if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            note(&entry.unwrap().path(), all);
        }
        Vec::new()
    } else {
        fs::read(path).unwrap()
    };
    all.insert(path.to_owned(), (content, metadata.modified().unwrap()));
}

#[track_caller]
fn denied(result: Result<Value, CallError>) -> Denied {
    match result {
        Err(CallError::Denied(denied)) => denied,
        other => panic!("not denied: {other:?}"),
    }
}

/// The folder that a refusal says to grant.
#[track_caller]
fn allowed(refused: &Refused) -> Folder {
    refused.allow.as_deref().and_then(|flag| flag.strip_prefix("--dir ")).unwrap().parse().unwrap()
}

/// The path `path`, as it is written, leaves the folder; the flag that is named makes `target` readable.
#[track_caller]
fn a_way_out(path: &str, target: &str) {
    let world = World::new();
    let (path, target) = (world.fill(path), world.fill(target));
    let refused = world.refuses(&world.grants(Access::ReadOnly), "open-raw", json!({"path": path}), "not-permitted");
    assert_eq!((refused.what, refused.target.as_str()), (RefusedAction::Open, target.as_str()));
    let grants = world.grants(Access::ReadOnly).folder(allowed(&refused)).unwrap();
    let readable = if target.starts_with("/d/") { world.fill("{outside}/secret.txt") } else { target };
    assert_eq!(value(adversarial().call("read", json!({"path": readable})).grants(grants)), "secret");
}

impl World {
    fn fill(&self, text: &str) -> String {
        text.replace("{outside}", self.path("outside").to_str().unwrap())
    }
}

#[test]
fn dots_do_not_lead_out_of_a_folder() {
    a_way_out("../outside/secret.txt", "/outside/secret.txt");
    a_way_out("sub/../../outside/secret.txt", "/outside/secret.txt");
    a_way_out("./sub/../../outside/./secret.txt", "/outside/secret.txt");
}

#[test]
fn an_absolute_path_does_not_lead_out_of_a_folder() {
    a_way_out("{outside}/secret.txt", "{outside}/secret.txt");
}

#[test]
fn a_symlink_does_not_lead_out_of_its_folder() {
    a_way_out("absolute-link", "/d/absolute-link");
    a_way_out("relative-link", "/d/relative-link");
    a_way_out("link-to-link", "/d/link-to-link");
    a_way_out("folder-link/secret.txt", "/d/folder-link/secret.txt");
}

#[test]
fn a_symlink_that_the_guest_made_does_not_lead_out_either() {
    let world = World::new();
    let grants = world.grants(Access::ReadWrite);
    let link = json!({"target": "../outside/secret.txt", "link": "/d/own-link"});
    assert_eq!(value(adversarial().call("make-symlink", link).grants(grants.clone())), Value::Null);
    world.refuses(&grants, "open-raw", json!({"path": "own-link"}), "not-permitted");
    world.refuses(&grants, "open-raw-for-write", json!({"path": "own-link"}), "not-permitted");
    world.refuses(&grants, "truncate-raw", json!({"path": "own-link"}), "not-permitted");
}

#[test]
fn a_guest_does_not_make_a_symlink_with_an_absolute_target() {
    let world = World::new();
    let before = world.snapshot();
    let link = json!({"target": "/etc/passwd", "link": "/d/own-link"});
    let result = run(adversarial().call("make-symlink", link).grants(world.grants(Access::ReadWrite))).result;
    denied(result);
    assert_eq!(world.snapshot(), before);
}

#[test]
fn an_absolute_symlink_is_not_even_read() {
    let world = World::new();
    world.refuses(&world.grants(Access::ReadOnly), "read-link-raw", json!({"path": "absolute-link"}), "not-permitted");
    let relative = adversarial().call("read-link-raw", json!({"path": "relative-link"}));
    assert_eq!(value(relative.grants(world.grants(Access::ReadOnly))), "../outside/secret.txt");
}

#[test]
fn nothing_is_made_or_changed_outside_a_folder() {
    let world = World::new();
    let grants = world.grants(Access::ReadWrite);
    for path in ["../outside/new", "folder-link/new", &world.fill("{outside}/new")] {
        world.refuses(&grants, "create-dir-raw", json!({"path": path}), "not-permitted");
        world.refuses(&grants, "open-raw-for-write", json!({"path": path}), "not-permitted");
    }
    for path in ["../outside/secret.txt", "relative-link", "absolute-link"] {
        world.refuses(&grants, "open-raw-for-write", json!({"path": path}), "not-permitted");
        world.refuses(&grants, "truncate-raw", json!({"path": path}), "not-permitted");
        world.refuses(&grants, "touch-raw", json!({"path": path}), "not-permitted");
    }
}

/// Refused below a read-only folder, and the flag that is named allows it.
#[track_caller]
fn a_write(name: &str, input: &Value, seen: &str, target: &str) {
    let world = World::new();
    let refused = world.refuses(&world.grants(Access::ReadOnly), name, input.clone(), seen);
    assert_eq!((refused.what, refused.target.as_str()), (RefusedAction::Write, target));
    let wider = allowed(&refused);
    assert_eq!(wider, world.folder("granted", "/d", Access::ReadWrite));
    let grants = Grants::none().folder(wider).unwrap();
    assert_eq!(value(adversarial().call(name, input.clone()).grants(grants)), Value::Null);
}

#[test]
fn nothing_is_changed_in_a_read_only_folder() {
    let file = || json!({"path": "file.txt"});
    a_write("open-raw-for-write", &file(), "not-permitted", "/d/file.txt");
    a_write("truncate-raw", &file(), "not-permitted", "/d/file.txt");
    a_write("touch-raw", &file(), "not-permitted", "/d/file.txt");
    a_write("create-dir-raw", &json!({"path": "new"}), "not-permitted", "/d/new");
    let message = "Operation not permitted (os error 63)";
    a_write("write", &json!({"path": "/d/file.txt", "text": "x"}), message, "/d/file.txt");
    a_write("write", &json!({"path": "/d/sub/new.txt", "text": "x"}), message, "/d/sub/new.txt");
    a_write("remove", &json!({"path": "/d/file.txt"}), message, "/d/file.txt");
    a_write("rename", &json!({"old": "/d/file.txt", "new": "/d/new.txt"}), message, "/d/new.txt");
    a_write("hard-link", &json!({"old": "/d/file.txt", "new": "/d/new.txt"}), message, "/d/new.txt");
    a_write("make-symlink", &json!({"target": "file.txt", "link": "/d/new.txt"}), message, "/d/new.txt");
}

#[test]
fn a_file_opened_for_reading_is_not_emptied_whatever_was_granted() {
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let world = World::new();
        let before = world.snapshot();
        let call = adversarial().call("set-size-raw", json!({"path": "file.txt"})).grants(world.grants(access));
        assert!(run(call).result.is_err());
        assert_eq!(world.snapshot(), before);
    }
}

#[test]
fn no_link_and_no_rename_carries_a_file_out_of_a_read_only_folder() {
    let world = World::new();
    let grants = world.grants(Access::ReadOnly).folder(world.folder("other", "/w", Access::ReadWrite)).unwrap();
    let message = "Operation not permitted (os error 63)";
    for name in ["rename", "hard-link"] {
        let refused = world.refuses(&grants, name, json!({"old": "/d/file.txt", "new": "/w/stolen"}), message);
        assert_eq!((refused.what, refused.target.as_str()), (RefusedAction::Write, "/d/file.txt"), "{name}");
        assert_eq!(allowed(&refused), world.folder("granted", "/d", Access::ReadWrite));
    }
}

#[test]
fn no_link_and_no_rename_carries_a_file_into_a_read_only_folder() {
    let world = World::new();
    fs::write(world.path("other/planted"), "planted").unwrap();
    let grants = world.grants(Access::ReadOnly).folder(world.folder("other", "/w", Access::ReadWrite)).unwrap();
    let message = "Operation not permitted (os error 63)";
    for name in ["rename", "hard-link"] {
        let refused = world.refuses(&grants, name, json!({"old": "/w/planted", "new": "/d/planted"}), message);
        assert_eq!((refused.what, refused.target.as_str()), (RefusedAction::Write, "/d/planted"), "{name}");
        assert_eq!(allowed(&refused), world.folder("granted", "/d", Access::ReadWrite));
    }
}

#[test]
fn between_two_writable_folders_a_rename_works() {
    let world = World::new();
    let grants = world.grants(Access::ReadWrite).folder(world.folder("other", "/w", Access::ReadWrite)).unwrap();
    let call = adversarial().call("rename", json!({"old": "/d/file.txt", "new": "/w/moved"}));
    assert_eq!(value(call.grants(grants)), Value::Null);
    assert_eq!(fs::read_to_string(world.path("other/moved")).unwrap(), "inside");
}

#[test]
fn a_path_with_odd_characters_is_quoted_in_the_flag() {
    let world = World::new();
    fs::create_dir(world.path("it's odd")).unwrap();
    fs::write(world.path("it's odd/file"), "").unwrap();
    let odd = Grants::none().folder(world.folder("it's odd", "/d", Access::ReadOnly)).unwrap();
    let refused = world.refuses(&odd, "truncate-raw", json!({"path": "file"}), "not-permitted");
    let flag = format!(r"--dir '{}/it'\''s odd::/d:rw'", world.path("").display().to_string().trim_end_matches('/'));
    assert_eq!(refused.allow.as_deref(), Some(flag.as_str()));
}

#[test]
fn a_refusal_that_the_guest_survives_is_no_denial() {
    let world = World::new();
    let call = toolbox().call("glob", json!({"pattern": "**"})).grants(world.grants(Access::ReadOnly));
    assert!(value(call)["paths"].is_array());
}

/// Opening such a pipe waits for somebody at its other end.
#[test]
fn a_pipe_in_a_folder_holds_a_guest_no_longer_than_its_wall_time() {
    let world = World::new();
    let pipe = world.path("granted/pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let limits = limits().wall_time(Duration::from_millis(30)).unwrap().build();
    let call = adversarial().call("open-raw", json!({"path": "pipe"})).limits(limits);
    let report = run(call.grants(world.grants(Access::ReadOnly)));
    assert_eq!(exceeded(&report).limit, LimitKind::WallTime);
    // Lets the thread go that still waits.
    drop(fs::File::options().read(true).write(true).open(pipe).unwrap());
}

#[test]
fn the_toolbox_does_not_edit_a_read_only_file() {
    let world = World::new();
    let before = world.snapshot();
    let edit = json!({"path": "/d/file.txt", "old": "inside", "new": "changed"});
    let edit = |grants: Grants| run(toolbox().call("edit-file", edit.clone()).grants(grants)).result;
    let denied = denied(edit(world.grants(Access::ReadOnly)));
    assert_eq!(world.snapshot(), before);
    let refused = &denied.refused[0];
    assert_eq!((refused.what, refused.target.as_str()), (RefusedAction::Write, "/d/file.txt"));
    tool_error(*denied.cause);
    assert_eq!(edit(Grants::none().folder(allowed(refused)).unwrap()).unwrap()["replacements"], 1);
    assert_eq!(fs::read_to_string(world.path("granted/file.txt")).unwrap(), "changed");
}

#[track_caller]
fn network_refuses(name: &str, input: Value, seen: Option<&str>, what: RefusedAction, target: &str) {
    let denied = denied(run(adversarial().call(name, input)).result);
    let saw = tool_error(*denied.cause).value;
    assert!(seen.is_none_or(|seen| saw == seen), "{saw}");
    let [refused] = denied.refused.as_slice() else { panic!("{:?}", denied.refused) };
    assert_eq!((refused.what, refused.target.as_str(), &refused.allow), (what, target, &None));
}

#[test]
fn no_connection_is_made() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let input = json!({"host": "127.0.0.1", "port": listener.local_addr().unwrap().port()});
    network_refuses("connect", input, Some("access-denied"), RefusedAction::Socket, "tcp");
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    let input = json!({"host": "::1", "port": 9});
    network_refuses("connect", input, Some("access-denied"), RefusedAction::Socket, "tcp");
}

#[test]
fn no_socket_is_bound() {
    let input = json!({"host": "127.0.0.1", "port": 0});
    network_refuses("udp-bind", input, Some("access-denied"), RefusedAction::Socket, "udp");
}

#[test]
fn no_socket_is_made() {
    let report = run(adversarial().call("hoard-sockets", json!({"count": 1_000})));
    assert_eq!(report.result.unwrap(), 0);
}

#[test]
fn no_name_is_resolved() {
    for name in ["localhost", "secret.attacker.example"] {
        network_refuses("resolve", json!({"name": name}), None, RefusedAction::Resolve, name);
    }
}

#[test]
fn no_request_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/path?secret=1", listener.local_addr().unwrap());
    let report = run(adversarial().call("http-get", json!({"url": url})));
    let CallError::Denied(denied) = report.result.unwrap_err() else { panic!("{url}") };
    let Refused { what, target, allow, .. } = &denied.refused[0];
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let expected = (RefusedAction::Request, format!("GET {origin}/path"), Some(format!("--allow-host {origin}")));
    assert_eq!((*what, target.clone(), allow.clone()), expected);
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
