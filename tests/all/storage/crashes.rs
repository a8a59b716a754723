//! Processes that are killed while they write, and what they leave behind.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use casemate::RunId;
use casemate::storage::{AppendError, SqliteStorage, Storage};

use super::{Folder, HOUR, entry, owned, texts};

/// Where a child of this process has its storage.
const FILE: &str = "CASEMATE_TEST_STORAGE";

/// What the children write: each entry says its number, over and over.
fn text(sequence: u64) -> String {
    format!("{sequence:08} ").repeat(40)
}

/// This test, in a process of its own.
fn child(folder: &Folder, test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("storage::crashes::{test}"), "--nocapture"]);
    command.env(FILE, folder.file()).stdout(Stdio::piped());
    command
}

fn own_file() -> Option<String> {
    std::env::var(FILE).ok()
}

/// Appends for as long as it can, and says each number that was acknowledged.
async fn append_and_tell(storage: &SqliteStorage) -> AppendError {
    let claimed = owned(storage).await;
    let mut out = std::io::stdout();
    // The harness may have begun a line.
    writeln!(out, "\nrun {}", claimed.record.id).unwrap();
    for sequence in 1.. {
        let append = entry(claimed.record.id, claimed.epoch, sequence, &text(sequence));
        if let Err(error) = storage.append(append).await {
            return error;
        }
        writeln!(out, "ack {sequence}").unwrap();
    }
    unreachable!()
}

/// What a child said: its run, and the last number that was acknowledged before `enough`.
fn listen(child: &mut Child, enough: u64) -> (RunId, u64) {
    let mut run = None;
    let mut last = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(id) = line.strip_prefix("run ") {
            run = Some(id.parse().unwrap());
        }
        if let Some(number) = line.strip_prefix("ack ") {
            last = number.parse().unwrap();
        }
        if last >= enough {
            child.kill().unwrap();
        }
    }
    (run.unwrap(), last)
}

/// The journal is whole up to `least` at least, and goes on.
async fn is_whole(folder: &Folder, run: RunId, least: u64) -> u64 {
    let storage = folder.open();
    let texts = texts(&storage, run).await;
    let kept = texts.len() as u64;
    assert!(kept >= least, "{kept} of {least}");
    for (found, sequence) in texts.iter().zip(1..) {
        assert_eq!(**found, text(sequence));
    }
    let head = storage.head(run).await.unwrap().unwrap();
    assert_eq!(head.next, kept + 1);
    let claims = Connection(&folder.file()).expire_all();
    assert_eq!(claims, 1, "the lease of whoever was killed");
    let worker = storage.register(HOUR).await.unwrap();
    let claimed = storage.claim_one(worker, run).await.unwrap().unwrap();
    storage.append(entry(run, claimed.epoch, head.next, "on")).await.unwrap();
    kept
}

/// The file as SQLite alone sees it.
struct Connection<'a>(&'a Path);

impl Connection<'_> {
    /// Ends all leases, as time would.
    fn expire_all(&self) -> usize {
        rusqlite::Connection::open(self.0).unwrap().execute("UPDATE workers SET lease_until_us = 0", []).unwrap()
    }
}

#[tokio::test]
async fn what_was_acknowledged_outlives_a_kill() {
    if let Some(file) = own_file() {
        append_and_tell(&SqliteStorage::open(file).unwrap()).await;
        return;
    }
    for enough in [1, 20, 150] {
        let folder = Folder::new();
        let mut child = child(&folder, "what_was_acknowledged_outlives_a_kill").spawn().unwrap();
        let (run, acknowledged) = listen(&mut child, enough);
        assert!(!child.wait().unwrap().success(), "it was killed");
        let kept = is_whole(&folder, run, acknowledged).await;
        assert!(kept <= acknowledged + 1, "no more than one append was on its way");
    }
}

#[tokio::test]
async fn what_is_torn_off_the_log_is_the_end_of_the_journal() {
    if let Some(file) = own_file() {
        append_and_tell(&SqliteStorage::open(file).unwrap()).await;
        return;
    }
    let folder = Folder::new();
    let mut child = child(&folder, "what_is_torn_off_the_log_is_the_end_of_the_journal").spawn().unwrap();
    let (run, acknowledged) = listen(&mut child, 60);
    child.wait().unwrap();
    let log = folder.file().with_extension("db-wal");
    let whole = fs::read(&log).unwrap();
    let mut kept = Vec::new();
    // In a frame's page, in its header, and at its edge; a frame has 24 bytes of header and one page.
    for torn in [1, 2_000, 4_100, 4_120, 20_000, 100_000] {
        let copy = Folder::new();
        fs::create_dir_all(copy.file().parent().unwrap()).unwrap();
        fs::copy(folder.file(), copy.file()).unwrap();
        fs::write(copy.file().with_extension("db-wal"), &whole[..whole.len() - torn]).unwrap();
        kept.push(is_whole(&copy, run, 1).await);
    }
    assert!(kept.is_sorted_by(|more, less| more >= less), "{kept:?}");
    assert!(kept[0] <= acknowledged + 1 && kept[kept.len() - 1] < kept[0], "{kept:?}");
}

/// Writing to the file fails, as on a disk that is full, at whatever byte that happens to be.
#[tokio::test]
async fn where_the_system_has_no_room_it_is_refused() {
    if let Some(file) = own_file() {
        let storage = SqliteStorage::open(file).unwrap();
        let error = append_and_tell(&storage).await;
        assert!(matches!(error, AppendError::Refused(_)), "{error:?}");
        let runs = storage.list(casemate::storage::RunFilter::default(), 9, None).await.unwrap();
        println!("\nleft {}", texts(&storage, runs.items[0].id).await.len());
        return;
    }
    // In blocks of 512 bytes or of 1024, as the shell likes.
    for blocks in [500, 503, 507, 600] {
        let folder = Folder::new();
        let child = child(&folder, "where_the_system_has_no_room_it_is_refused");
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
        limited.arg(child.get_program()).args(child.get_args()).env(FILE, folder.file());
        let output = limited.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        let number = |word: &str| said.lines().rev().find_map(|line| line.strip_prefix(word)).unwrap();
        let acknowledged: u64 = number("ack ").parse().unwrap();
        assert_eq!(number("left ").parse::<u64>().unwrap(), acknowledged);
        assert_eq!(is_whole(&folder, number("run ").parse().unwrap(), acknowledged).await, acknowledged);
    }
}
