use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use casemate::{CacheFolder, Component, ContentHash, Engine, EntryHealth, LoadError, Metering};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{engine, load, time_engine, toolbox, wat};

const GUEST: &str = wat!("five-exports");

/// A cache in a folder that does not exist yet.
struct Fresh {
    dir: TempDir,
}

impl Fresh {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// One with the guest in it.
    fn filled() -> Self {
        let fresh = Self::new();
        works(&load(&fresh.engine(), GUEST));
        fresh
    }

    fn folder(&self) -> CacheFolder {
        CacheFolder::new(self.dir.path().join("a/cache"))
    }

    fn engine(&self) -> Engine {
        Engine::builder().max_sandboxes(1).cache(self.folder().path()).build().unwrap()
    }

    #[track_caller]
    fn entry(&self) -> PathBuf {
        let entries = self.folder().entries().unwrap();
        let [entry] = entries.as_slice() else { panic!("{entries:?}") };
        entry.path.clone()
    }

    /// Puts another file in the entry's place, as rename does.
    fn replace(&self, bytes: &[u8]) {
        let aside = self.dir.path().join("aside");
        fs::write(&aside, bytes).unwrap();
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(aside, self.entry()).unwrap();
    }

    fn is_sound(&self) -> bool {
        let health = self.folder().verify().unwrap();
        health.iter().all(|(_, health)| matches!(health, EntryHealth::Sound))
    }
}

#[track_caller]
fn works(component: &Component) {
    assert_eq!(component.call_blocking("add", json!({"a": 1, "b": 2})).unwrap(), 3);
}

fn cached(engine: &Engine) -> Option<Component> {
    engine.block_on(engine.load_cached(hash()))
}

/// The hash is that of the binary form, which the text becomes.
fn hash() -> ContentHash {
    load(engine(), GUEST).hash()
}

/// What tells whether a file is still the same one.
fn identity(path: &Path) -> (u64, std::time::SystemTime) {
    let metadata = path.symlink_metadata().unwrap();
    (metadata.ino(), metadata.modified().unwrap())
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o777
}

#[test]
fn an_entry_is_private_and_used_again() {
    let cache = Fresh::filled();
    let entry = cache.entry();
    assert_eq!((mode(&entry), mode(cache.folder().path())), (0o600, 0o700));
    let before = identity(&entry);
    works(&load(&cache.engine(), GUEST));
    works(&cached(&cache.engine()).unwrap());
    assert_eq!(identity(&cache.entry()), before);
}

#[test]
fn nothing_is_found_where_nothing_was_kept() {
    let cache = Fresh::new();
    assert!(cached(&cache.engine()).is_none());
    assert!(cache.folder().entries().unwrap().is_empty());
    assert!(cache.folder().clear().unwrap().is_empty());
    let without = Engine::builder().max_sandboxes(1).build().unwrap();
    works(&load(&without, GUEST));
    assert!(cached(&without).is_none());
}

#[test]
fn each_component_and_each_metering_has_an_entry_of_its_own() {
    let cache = Fresh::filled();
    load(&cache.engine(), wat!("resource"));
    let by_time = Engine::builder().max_sandboxes(1).metering(Metering::Time).cache(cache.folder().path());
    let deep = Engine::builder().max_sandboxes(1).max_stack(1 << 20).cache(cache.folder().path());
    works(&load(&by_time.build().unwrap(), GUEST));
    works(&load(&deep.build().unwrap(), GUEST));
    assert!(cache.folder().entries().unwrap().len() >= 3);
    assert!(cache.is_sound());
}

#[track_caller]
fn is_replaced(damage: impl Fn(&mut Vec<u8>)) {
    let cache = Fresh::filled();
    let sound = fs::read(cache.entry()).unwrap();
    let mut damaged = sound.clone();
    damage(&mut damaged);
    cache.replace(&damaged);
    assert!(!cache.is_sound());
    assert!(cached(&cache.engine()).is_none());
    works(&load(&cache.engine(), GUEST));
    assert!(cache.is_sound());
    assert_eq!(fs::read(cache.entry()).unwrap().len(), sound.len());
}

#[test]
fn a_damaged_entry_is_compiled_again_and_replaced() {
    is_replaced(Vec::clear);
    is_replaced(|bytes| bytes.truncate(10));
    is_replaced(|bytes| bytes.truncate(bytes.len() / 2));
    is_replaced(|bytes| bytes.truncate(bytes.len() - 1));
    is_replaced(|bytes| bytes.push(0));
    is_replaced(|bytes| *bytes = vec![0xA5; bytes.len()]);
    is_replaced(|bytes| *bytes = b"#!/bin/sh\n".to_vec());
    // In the code, in its header, and in each part of the trailer.
    for from_start in [0, 100] {
        is_replaced(|bytes| bytes[from_start] ^= 1);
    }
    is_replaced(|bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    for from_end in [1, 17, 25, 40, 70, 100] {
        is_replaced(|bytes| {
            let index = bytes.len() - from_end;
            bytes[index] ^= 1;
        });
    }
}

#[test]
fn an_engine_notices_what_was_put_in_the_place_of_an_entry_it_knows() {
    let cache = Fresh::filled();
    let engine = cache.engine();
    works(&cached(&engine).unwrap());
    let mut damaged = fs::read(cache.entry()).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    cache.replace(&damaged);
    assert!(cached(&engine).is_none());
    works(&load(&engine, GUEST));
    works(&cached(&engine).unwrap());
}

#[test]
fn an_entry_that_others_can_write_is_not_used() {
    let cache = Fresh::filled();
    for open in [0o602, 0o620, 0o666] {
        fs::set_permissions(cache.entry(), fs::Permissions::from_mode(open)).unwrap();
        assert!(cached(&cache.engine()).is_none());
        assert!(!cache.is_sound());
        works(&load(&cache.engine(), GUEST));
        assert_eq!(mode(&cache.entry()), 0o600);
    }
}

#[test]
fn a_folder_that_others_can_write_is_neither_used_nor_written() {
    let cache = Fresh::filled();
    let before = identity(&cache.entry());
    fs::set_permissions(cache.folder().path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(cached(&cache.engine()).is_none());
    works(&load(&cache.engine(), GUEST));
    works(&load(&cache.engine(), wat!("resource")));
    assert_eq!(identity(&cache.entry()), before);
}

#[test]
fn a_symlink_is_no_entry() {
    let cache = Fresh::filled();
    let elsewhere = cache.dir.path().join("elsewhere");
    let name = cache.entry();
    fs::rename(&name, &elsewhere).unwrap();
    symlink(&elsewhere, &name).unwrap();
    let before = identity(&elsewhere);
    assert!(cached(&cache.engine()).is_none());
    works(&load(&cache.engine(), GUEST));
    assert!(!name.symlink_metadata().unwrap().is_symlink());
    assert_eq!(identity(&elsewhere), before);
}

#[test]
fn engines_that_race_for_one_folder_all_succeed() {
    let cache = Fresh::new();
    let engines = [(); 4].map(|()| cache.engine());
    std::thread::scope(|scope| {
        for engine in &engines {
            scope.spawn(|| works(&load(engine, GUEST)));
        }
    });
    cache.entry();
    assert!(cache.is_sound());
    let left: Vec<_> = fs::read_dir(cache.folder().path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_cache_is_cleared_while_its_components_run_on() {
    let cache = Fresh::filled();
    let engine = cache.engine();
    let component = cached(&engine).unwrap();
    assert_eq!(cache.folder().clear().unwrap().len(), 1);
    assert!(cache.folder().entries().unwrap().is_empty());
    works(&component);
    assert!(cached(&engine).is_none());
}

#[test]
fn a_cache_that_cannot_be_written_costs_only_time() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let engine = Engine::builder().max_sandboxes(1).cache(file.path().join("below")).build().unwrap();
    works(&load(&engine, GUEST));
}

#[expect(unsafe_code, reason = "the test compiled the file itself")]
fn load_compiled(engine: &Engine, path: &Path) -> Result<Component, LoadError> {
    // SAFETY: the file is one that `Engine::compile` made, or one changed so that it is refused.
    engine.block_on(unsafe { engine.load_compiled(path) })
}

#[test]
fn what_was_compiled_ahead_is_the_same_component() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("toolbox.cwasm");
    fs::write(&path, engine().block_on(engine().compile(casemate_guests::TOOLBOX)).unwrap()).unwrap();
    let loaded = load_compiled(engine(), &path).unwrap();
    assert_eq!(loaded.hash(), toolbox().hash());
    let [loaded, known] = [&loaded, toolbox()].map(|component| serde_json::to_value(component.description()).unwrap());
    assert_eq!(loaded, known);
    assert!(loaded["tools"][0]["description"].is_string());
}

#[test]
fn what_was_compiled_ahead_is_refused_where_it_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("guest.cwasm");
    let sound = engine().block_on(engine().compile(GUEST)).unwrap();
    fs::write(&path, &sound).unwrap();
    works(&load_compiled(engine(), &path).unwrap());
    assert!(matches!(load_compiled(time_engine(), &path), Err(LoadError::Incompatible { .. })));
    for index in [0, sound.len() / 2, sound.len() - 70, sound.len() - 1] {
        let mut changed = sound.clone();
        changed[index] ^= 1;
        let path = dir.path().join(format!("changed-{index}"));
        fs::write(&path, changed).unwrap();
        assert!(matches!(load_compiled(engine(), &path), Err(LoadError::Artifact { .. })), "{index}");
    }
    let path = dir.path().join("guest.wasm");
    fs::write(&path, casemate_guests::TOOLBOX).unwrap();
    assert!(matches!(load_compiled(engine(), &path), Err(LoadError::Artifact { .. })));
    assert!(matches!(load_compiled(engine(), &dir.path().join("missing")), Err(LoadError::Read { .. })));
}
