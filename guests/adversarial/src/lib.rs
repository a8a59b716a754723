//! A guest that misbehaves on purpose: one attack to a file, each saying what should stop it.
//!
//! This file only dispatches from the exports in `wit/adversarial` to the attacks.
//! A panic is how a guest fails, so the attacks panic where an honest guest would return an error.

mod busy_loop;
mod counter;
mod exit;
mod nap_forever;
mod recurse;
mod sleep_an_hour;
mod spin;
mod spin_in_host;
mod trap;

mod allocate_without_end;
mod fill;
mod try_grow;

mod big_result;
mod flood;
mod invalid_utf8;
mod print;
mod unasked_writes;

mod hoard_descriptors;
mod links;
mod open_raw;
mod plain_files;
mod write_while_read_only;

mod hoard_sockets;
mod http_get;
mod resolve;
mod tcp_connect;
mod udp_bind;

mod hoard_pollables;
mod random_bytes;
mod surroundings;

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]

    wit_bindgen::generate!({
        path: "../../wit/adversarial",
        world: "adversarial",
    });

    export!(Adversarial with_types_in self);

    use super::Adversarial;
}

use bindings::exports::casemate::adversarial::output::Leaf;
use bindings::exports::casemate::adversarial::{compute, files, host, memory, network, output};

struct Adversarial;

impl compute::Guest for Adversarial {
    fn spin() {
        spin::spin();
    }

    fn spin_in_host() {
        spin_in_host::spin_in_host();
    }

    fn nap_forever() {
        nap_forever::nap_forever();
    }

    fn sleep_an_hour() {
        sleep_an_hour::sleep_an_hour();
    }

    fn recurse() -> u64 {
        recurse::recurse()
    }

    fn trap() {
        trap::adversarial_depth_one();
    }

    fn exit(status: u8) {
        exit::exit(status);
    }

    fn busy_loop(iterations: u64) -> u64 {
        busy_loop::busy_loop(iterations)
    }

    fn counter_next() -> u32 {
        counter::next()
    }
}

impl memory::Guest for Adversarial {
    fn allocate_without_end() {
        allocate_without_end::allocate_without_end();
    }

    fn try_grow(pages: u32) -> Option<u32> {
        try_grow::try_grow(pages)
    }

    fn fill(bytes: u64) -> u64 {
        fill::fill(bytes)
    }
}

impl output::Guest for Adversarial {
    fn print(text: String) {
        print::print(&text);
    }

    fn warn(text: String) {
        print::warn(&text);
    }

    fn flood_stdout(bytes: u64) -> u64 {
        flood::flood(&mut std::io::stdout(), bytes)
    }

    fn flood_stderr(bytes: u64) -> u64 {
        flood::flood(&mut std::io::stderr(), bytes)
    }

    fn flood_forever() {
        flood::flood_forever();
    }

    fn write_unasked(bytes: u32) -> Result<(), String> {
        unasked_writes::write(bytes)
    }

    fn flood_zeroes(bytes: u64) -> Result<(), String> {
        unasked_writes::write_zeroes(bytes)
    }

    fn big_result(bytes: u32) -> String {
        big_result::string(bytes)
    }

    fn big_list(count: u32) -> Vec<u8> {
        big_result::list(count)
    }

    fn big_nested(width: u32) -> Vec<Vec<Leaf>> {
        big_result::nested(width)
    }

    fn return_invalid_utf8() -> String {
        invalid_utf8::invalid_utf8()
    }
}

impl files::Guest for Adversarial {
    fn read(path: String) -> Result<String, String> {
        plain_files::read(&path)
    }

    fn write(path: String, text: String) -> Result<(), String> {
        plain_files::write(&path, &text)
    }

    fn list_dir(path: String) -> Result<Vec<String>, String> {
        plain_files::list_dir(&path)
    }

    fn remove(path: String) -> Result<(), String> {
        plain_files::remove(&path)
    }

    fn rename(old: String, new: String) -> Result<(), String> {
        links::rename(&old, &new)
    }

    fn hard_link(old: String, new: String) -> Result<(), String> {
        links::hard_link(&old, &new)
    }

    fn make_symlink(target: String, link: String) -> Result<(), String> {
        links::make_symlink(&target, &link)
    }

    fn open_raw(path: String) -> Result<String, String> {
        open_raw::read(&path)
    }

    fn open_raw_for_write(path: String) -> Result<(), String> {
        open_raw::write(&path)
    }

    fn truncate_raw(path: String) -> Result<(), String> {
        write_while_read_only::truncate(&path)
    }

    fn set_size_raw(path: String) -> Result<(), String> {
        write_while_read_only::set_size(&path)
    }

    fn touch_raw(path: String) -> Result<(), String> {
        write_while_read_only::touch(&path)
    }

    fn create_dir_raw(path: String) -> Result<(), String> {
        open_raw::create_dir(&path)
    }

    fn read_link_raw(path: String) -> Result<String, String> {
        links::read_link(&path)
    }

    fn hoard_descriptors(count: u32) -> Result<u32, String> {
        hoard_descriptors::hoard(count)
    }
}

impl network::Guest for Adversarial {
    fn connect(host: String, port: u16) -> Result<(), String> {
        tcp_connect::connect(&host, port)
    }

    fn udp_bind(host: String, port: u16) -> Result<(), String> {
        udp_bind::bind(&host, port)
    }

    fn resolve(name: String) -> Result<Vec<String>, String> {
        resolve::resolve(&name)
    }

    fn http_get(url: String) -> Result<u16, String> {
        http_get::get(&url)
    }

    fn hoard_sockets(count: u32) -> u32 {
        hoard_sockets::hoard(count)
    }
}

impl host::Guest for Adversarial {
    fn random_bytes(len: u64) -> u64 {
        random_bytes::secure(len)
    }

    fn insecure_random_bytes(len: u64) -> u64 {
        random_bytes::insecure(len)
    }

    fn hoard_resources(count: u32) -> u32 {
        hoard_pollables::hoard(count)
    }

    fn environment() -> Vec<(String, String)> {
        surroundings::environment()
    }

    fn arguments() -> Vec<String> {
        surroundings::arguments()
    }

    fn stdin() -> String {
        surroundings::stdin()
    }
}
