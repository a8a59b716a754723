//! `wasi:filesystem`, with an eye on what is refused.
//!
//! What a guest may reach is decided by wasmtime-wasi, which opens relative to the granted folder and follows nothing
//! out of it. This layer only remembers which path each handle stands for, so that a refusal can name the path and
//! the flag that would allow it.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use casemate_policy::{Access, Folder};
use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::{Host, Phase, Refusals, RefusedAction};
use crate::effect::flag;

/// Which path each open handle stands for, by the handle's index in the resource table.
#[derive(Default)]
pub(crate) struct OpenFolders(HashMap<u32, Place>);

/// A path below a granted folder, written as the guest wrote it.
#[derive(Clone)]
struct Place {
    folder: usize,
    path: String,
}

pub(crate) struct WatchedFiles;

pub(crate) struct WatchedFilesView<'a> {
    files: WasiFilesystemCtxView<'a>,
    watch: Watch<'a>,
}

/// What is needed to explain a refusal.
struct Watch<'a> {
    open: &'a mut OpenFolders,
    folders: &'a [Folder],
    refusals: &'a Refusals,
}

impl HasData for WatchedFiles {
    type Data<'a> = WatchedFilesView<'a>;
}

impl WatchedFiles {
    pub(crate) fn view(host: &mut Host) -> WatchedFilesView<'_> {
        host.phase = Phase::Serving;
        // The parts are borrowed one by one: the view of wasmtime-wasi alone would take all of `host`.
        let Host { wasi, table, open_folders, folders, refusals, .. } = host;
        let files = WasiFilesystemCtxView { ctx: wasi.filesystem(), table };
        WatchedFilesView { files, watch: Watch { open: open_folders, folders, refusals } }
    }
}

impl Watch<'_> {
    fn opened_at(&mut self, handle: u32, base: u32, path: &str) {
        if let Some(base) = self.open.0.get(&base) {
            let path = format!("{}/{path}", base.path);
            let place = Place { folder: base.folder, path };
            self.open.0.insert(handle, place);
        }
    }

    /// Notes that `intent` on `path` below `handle` was refused, if that is what `result` says.
    fn note<T>(&self, result: FsResult<T>, intent: Access, handle: u32, path: &str) -> FsResult<T> {
        if let Err(error) = &result
            && is_refusal(error)
            && let Some((folder, base)) = self.place(handle)
        {
            self.explain(intent, folder, base, path);
        }
        result
    }

    /// The same for what changes two places: the one that is read-only is what was in the way, the new one first.
    fn note_two<T>(&self, result: FsResult<T>, old: (u32, &str), new: (u32, &str)) -> FsResult<T> {
        let is_read_only = |handle| self.place(handle).is_some_and(|(folder, _)| folder.access() == Access::ReadOnly);
        let (handle, path) = if is_read_only(old.0) && !is_read_only(new.0) { old } else { new };
        self.note(result, Access::ReadWrite, handle, path)
    }

    /// The same for what is done to an open handle. One that was opened for reading refuses writes by itself, and no
    /// grant would change that.
    fn note_open<T>(&self, result: FsResult<T>, handle: u32) -> FsResult<T> {
        if self.place(handle).is_some_and(|(folder, _)| folder.access() == Access::ReadWrite) {
            return result;
        }
        self.note(result, Access::ReadWrite, handle, "")
    }

    fn place(&self, handle: u32) -> Option<(&Folder, &str)> {
        let place = self.open.0.get(&handle)?;
        Some((self.folders.get(place.folder)?, &place.path))
    }

    fn explain(&self, intent: Access, folder: &Folder, base: &str, path: &str) {
        let target = guest_path(folder, base, path);
        if intent == Access::ReadWrite && folder.access() == Access::ReadOnly {
            let wider = folder.clone().with_access(Access::ReadWrite);
            self.refusals.add(RefusedAction::Write, target, Some(dir_flag(&wider.to_string())));
        } else {
            let allow = outside(folder, base, path, &target)
                .and_then(|(host, guest)| Folder::new(host, &guest, intent).ok())
                .map(|folder| dir_flag(&folder.to_string()));
            self.refusals.add(RefusedAction::Open, target, allow);
        }
    }
}

fn is_refusal(error: &FsError) -> bool {
    matches!(error.downcast_ref(), Some(types::ErrorCode::NotPermitted | types::ErrorCode::ReadOnly))
}

/// The path as the guest sees it, with `.` and `..` resolved by their spelling.
fn guest_path(folder: &Folder, base: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{}/{base}/{path}", folder.guest()) };
    spelled_out(Path::new(&whole)).display().to_string()
}

/// The folder on the host that holds what the guest was after, and that folder's place in the guest.
///
/// A symlink leads wherever it leads; the person who reads this owns both sides of it.
fn outside(folder: &Folder, base: &str, path: &str, target: &str) -> Option<(PathBuf, String)> {
    let below = format!("{base}/{path}");
    let host = if path.starts_with('/') {
        PathBuf::from(path)
    } else {
        let host = std::path::absolute(folder.host()).ok()?.join(below.trim_start_matches('/'));
        host.canonicalize().unwrap_or_else(|_| spelled_out(&host))
    };
    let guest = Path::new(target).parent().unwrap_or(Path::new("/"));
    let inside = guest_is_inside(folder, target);
    let host = host.parent()?.to_owned();
    let guest = if inside { host.display().to_string() } else { guest.display().to_string() };
    Some((host, guest))
}

fn guest_is_inside(folder: &Folder, target: &str) -> bool {
    Path::new(target).starts_with(folder.guest())
}

fn spelled_out(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut whole, part| {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                whole.pop();
            }
            part => whole.push(part),
        }
        whole
    })
}

fn dir_flag(folder: &str) -> String {
    flag("--dir", folder)
}

impl preopens::Host for WatchedFilesView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let directories = preopens::Host::get_directories(&mut self.files)?;
        for (index, (handle, _)) in directories.iter().enumerate() {
            self.watch.open.0.insert(handle.rep(), Place { folder: index, path: String::new() });
        }
        Ok(directories)
    }
}

impl types::Host for WatchedFilesView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<types::ErrorCode> {
        self.files.convert_error_code(error)
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<types::ErrorCode>> {
        self.files.filesystem_error_code(error)
    }
}

type Fd = Resource<Descriptor>;

impl types::HostDescriptor for WatchedFilesView<'_> {
    async fn open_at(
        &mut self,
        fd: Fd,
        path_flags: types::PathFlags,
        path: String,
        open_flags: types::OpenFlags,
        flags: types::DescriptorFlags,
    ) -> FsResult<Fd> {
        let base = fd.rep();
        let changes = flags.intersects(types::DescriptorFlags::WRITE | types::DescriptorFlags::MUTATE_DIRECTORY)
            || open_flags.intersects(types::OpenFlags::CREATE | types::OpenFlags::TRUNCATE);
        let intent = if changes { Access::ReadWrite } else { Access::ReadOnly };
        let opened = self.files.open_at(fd, path_flags, path.clone(), open_flags, flags).await;
        let opened = self.watch.note(opened, intent, base, &path)?;
        self.watch.opened_at(opened.rep(), base, &path);
        Ok(opened)
    }

    fn drop(&mut self, fd: Fd) -> wasmtime::Result<()> {
        self.watch.open.0.remove(&fd.rep());
        types::HostDescriptor::drop(&mut self.files, fd)
    }

    async fn advise(
        &mut self,
        fd: Fd,
        offset: types::Filesize,
        len: types::Filesize,
        advice: types::Advice,
    ) -> FsResult<()> {
        self.files.advise(fd, offset, len, advice).await
    }

    async fn sync_data(&mut self, fd: Fd) -> FsResult<()> {
        self.files.sync_data(fd).await
    }

    async fn sync(&mut self, fd: Fd) -> FsResult<()> {
        self.files.sync(fd).await
    }

    async fn get_flags(&mut self, fd: Fd) -> FsResult<types::DescriptorFlags> {
        self.files.get_flags(fd).await
    }

    async fn get_type(&mut self, fd: Fd) -> FsResult<types::DescriptorType> {
        self.files.get_type(fd).await
    }

    async fn set_size(&mut self, fd: Fd, size: types::Filesize) -> FsResult<()> {
        let handle = fd.rep();
        let result = self.files.set_size(fd, size).await;
        self.watch.note_open(result, handle)
    }

    async fn set_times(&mut self, fd: Fd, atim: types::NewTimestamp, mtim: types::NewTimestamp) -> FsResult<()> {
        let handle = fd.rep();
        let result = self.files.set_times(fd, atim, mtim).await;
        self.watch.note_open(result, handle)
    }

    async fn read(&mut self, fd: Fd, len: types::Filesize, offset: types::Filesize) -> FsResult<(Vec<u8>, bool)> {
        self.files.read(fd, len, offset).await
    }

    async fn write(&mut self, fd: Fd, buffer: Vec<u8>, offset: types::Filesize) -> FsResult<types::Filesize> {
        let handle = fd.rep();
        let result = self.files.write(fd, buffer, offset).await;
        self.watch.note_open(result, handle)
    }

    async fn read_directory(&mut self, fd: Fd) -> FsResult<Resource<types::DirectoryEntryStream>> {
        self.files.read_directory(fd).await
    }

    async fn create_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        let handle = fd.rep();
        let result = self.files.create_directory_at(fd, path.clone()).await;
        self.watch.note(result, Access::ReadWrite, handle, &path)
    }

    async fn stat(&mut self, fd: Fd) -> FsResult<types::DescriptorStat> {
        self.files.stat(fd).await
    }

    async fn stat_at(&mut self, fd: Fd, flags: types::PathFlags, path: String) -> FsResult<types::DescriptorStat> {
        let handle = fd.rep();
        let result = self.files.stat_at(fd, flags, path.clone()).await;
        self.watch.note(result, Access::ReadOnly, handle, &path)
    }

    async fn set_times_at(
        &mut self,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
        atim: types::NewTimestamp,
        mtim: types::NewTimestamp,
    ) -> FsResult<()> {
        let handle = fd.rep();
        let result = self.files.set_times_at(fd, flags, path.clone(), atim, mtim).await;
        self.watch.note(result, Access::ReadWrite, handle, &path)
    }

    async fn link_at(
        &mut self,
        fd: Fd,
        flags: types::PathFlags,
        old_path: String,
        new_fd: Fd,
        new_path: String,
    ) -> FsResult<()> {
        let (old, new) = (fd.rep(), new_fd.rep());
        let result = self.files.link_at(fd, flags, old_path.clone(), new_fd, new_path.clone()).await;
        self.watch.note_two(result, (old, &old_path), (new, &new_path))
    }

    async fn readlink_at(&mut self, fd: Fd, path: String) -> FsResult<String> {
        let handle = fd.rep();
        let result = self.files.readlink_at(fd, path.clone()).await;
        self.watch.note(result, Access::ReadOnly, handle, &path)
    }

    async fn remove_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        let handle = fd.rep();
        let result = self.files.remove_directory_at(fd, path.clone()).await;
        self.watch.note(result, Access::ReadWrite, handle, &path)
    }

    async fn rename_at(&mut self, fd: Fd, old_path: String, new_fd: Fd, new_path: String) -> FsResult<()> {
        let (old, new) = (fd.rep(), new_fd.rep());
        let result = self.files.rename_at(fd, old_path.clone(), new_fd, new_path.clone()).await;
        self.watch.note_two(result, (old, &old_path), (new, &new_path))
    }

    async fn symlink_at(&mut self, fd: Fd, target: String, link: String) -> FsResult<()> {
        let handle = fd.rep();
        let result = self.files.symlink_at(fd, target, link.clone()).await;
        self.watch.note(result, Access::ReadWrite, handle, &link)
    }

    async fn unlink_file_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        let handle = fd.rep();
        let result = self.files.unlink_file_at(fd, path.clone()).await;
        self.watch.note(result, Access::ReadWrite, handle, &path)
    }

    fn read_via_stream(&mut self, fd: Fd, offset: types::Filesize) -> FsResult<Resource<DynInputStream>> {
        self.files.read_via_stream(fd, offset)
    }

    fn write_via_stream(&mut self, fd: Fd, offset: types::Filesize) -> FsResult<Resource<DynOutputStream>> {
        let handle = fd.rep();
        let result = self.files.write_via_stream(fd, offset);
        self.watch.note_open(result, handle)
    }

    fn append_via_stream(&mut self, fd: Fd) -> FsResult<Resource<DynOutputStream>> {
        let handle = fd.rep();
        let result = self.files.append_via_stream(fd);
        self.watch.note_open(result, handle)
    }

    async fn is_same_object(&mut self, a: Fd, b: Fd) -> wasmtime::Result<bool> {
        self.files.is_same_object(a, b).await
    }

    async fn metadata_hash(&mut self, fd: Fd) -> FsResult<types::MetadataHashValue> {
        self.files.metadata_hash(fd).await
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
    ) -> FsResult<types::MetadataHashValue> {
        let handle = fd.rep();
        let result = self.files.metadata_hash_at(fd, flags, path.clone()).await;
        self.watch.note(result, Access::ReadOnly, handle, &path)
    }
}

impl types::HostDirectoryEntryStream for WatchedFilesView<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<types::DirectoryEntryStream>,
    ) -> FsResult<Option<types::DirectoryEntry>> {
        self.files.read_directory_entry(stream).await
    }

    fn drop(&mut self, stream: Resource<types::DirectoryEntryStream>) -> wasmtime::Result<()> {
        types::HostDirectoryEntryStream::drop(&mut self.files, stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(base: &str, path: &str, target: &str, host: &str, guest: &str) {
        let folder = Folder::new("/host/data", "/d", Access::ReadOnly).expect("folder");
        assert_eq!(guest_path(&folder, base, path), target);
        assert_eq!(outside(&folder, base, path, target), Some((host.into(), guest.into())));
    }

    #[test]
    fn a_refused_path_is_spelled_out_on_both_sides() {
        check("", "../secret", "/secret", "/host", "/");
        check("/sub", "../../x/secret", "/x/secret", "/host/x", "/x");
        check("", "/etc/passwd", "/etc/passwd", "/etc", "/etc");
    }

    #[test]
    fn a_flag_is_quoted_where_a_shell_would_split_it() {
        assert_eq!(dir_flag("/a::/b:ro"), "--dir /a::/b:ro");
        assert_eq!(dir_flag("/a b::/c:ro"), "--dir '/a b::/c:ro'");
    }
}
