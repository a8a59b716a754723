//! Servers that are not who they say.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use casemate::{Gate, HttpClient, Secret, SecretPlace, Secrets};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::outside::{addresses_of, answer, client, failure, get, hosts};
use crate::support::{Fixed, seen};

/// Somebody who signs certificates.
pub(crate) struct Authority {
    pub(crate) certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn sign(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let (key, params) = (KeyPair::generate().unwrap(), params(names, change));
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Identity { chain: vec![certificate], key: private(&key) }
    }
}

fn params(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    params
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

fn self_signed(names: &[&str]) -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate = params(names, |_| ()).self_signed(&key).unwrap().der().clone();
    Identity { chain: vec![certificate], key: private(&key) }
}

/// A server over TLS that says hello, and counts the requests that came through.
pub(crate) struct TlsServer {
    pub(crate) address: SocketAddr,
    stopped: Arc<AtomicBool>,
    seen: Arc<AtomicUsize>,
    pub(crate) heads: Arc<Mutex<Vec<String>>>,
}

impl TlsServer {
    pub(crate) fn start(identity: Identity) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(identity.chain, identity.key).unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            stopped: Arc::default(),
            seen: Arc::default(),
            heads: Arc::default(),
        };
        let (stopped, seen, heads) = (server.stopped.clone(), server.seen.clone(), server.heads.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                // Who does not trust it leaves.
                drop(serve(&config, stream.unwrap(), &seen, &heads));
            }
        });
        server
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

fn serve(
    config: &Arc<ServerConfig>,
    stream: TcpStream,
    seen: &AtomicUsize,
    heads: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    seen.fetch_add(1, Ordering::SeqCst);
    heads.lock().unwrap().push(String::from_utf8(head).unwrap());
    stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello")?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// A Gate that trusts the authority, whose names all lead to the server, and whose secret goes to `a.example`.
fn gate(authority: &Authority, server: SocketAddr) -> Gate {
    let (client, _) = client(|_, _| addresses_of(&["93.184.216.34"]), move |_| Some(server));
    let client = client.trust(authority.certificate.to_vec()).unwrap().build();
    let secret = Secret::new("KEY", Fixed("canary-0123456789")).unwrap();
    let secrets = Secrets::new();
    secrets.set(secret.bound_to("https://a.example".parse().unwrap(), SecretPlace::bearer()));
    Gate::builder().http(client).secrets(secrets).build()
}

#[test]
fn a_server_with_the_right_certificate_is_spoken_to() {
    let authority = Authority::new();
    for (names, url) in [
        (&["a.example"][..], "https://a.example/"),
        (&["*.b.example"], "https://a.b.example/"),
        (&["b.example", "a.example"], "https://A.example./"),
        (&["93.184.216.34"], "https://93.184.216.34/"),
    ] {
        let server = TlsServer::start(authority.sign(names, |_| ()));
        let call = get(url).grants(hosts(&["https://*"]).secret("KEY").unwrap());
        assert_eq!(answer(call, &gate(&authority, server.address))["body"], "hello", "{names:?}");
        let head = server.heads.lock().unwrap()[0].clone();
        assert_eq!(
            head.contains("Bearer canary-0123456789"),
            url.to_lowercase().starts_with("https://a.example"),
            "{head}"
        );
    }
}

/// The server cannot show that it is `a.example`: nothing is asked of it, and the secret stays here.
#[track_caller]
fn is_not_trusted(identity: Identity, url: &str) {
    let authority = Authority::new();
    is_not_trusted_by(&authority, identity, url);
}

#[track_caller]
fn is_not_trusted_by(authority: &Authority, identity: Identity, url: &str) {
    let server = TlsServer::start(identity);
    let gate = gate(authority, server.address);
    let mut events = gate.subscribe(10);
    let error = failure(get(url).grants(hosts(&["https://*"]).secret("KEY").unwrap()), &gate);
    assert_eq!(error, "ErrorCode::TlsCertificateError");
    assert_eq!((server.seen.load(Ordering::SeqCst), server.heads.lock().unwrap().len()), (0, 0));
    let events = seen(&mut events);
    let (kind, event) = events.last().unwrap();
    assert_eq!(kind, "error");
    assert!(event["message"].as_str().unwrap().starts_with("the server's certificate is refused: "), "{event}");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    for names in [
        &["b.example"][..],
        &["a.example.evil.com"],
        &["*.a.example"],
        &["*.b.example", "example"],
        &["127.0.0.1"],
        &["93.184.216.34"],
        &[],
    ] {
        is_not_trusted_by(&authority, authority.sign(names, |_| ()), "https://a.example/");
    }
    is_not_trusted_by(&authority, authority.sign(&["a.example"], |_| ()), "https://93.184.216.34/");
    is_not_trusted_by(&authority, authority.sign(&["*.example"], |_| ()), "https://a.b.example/");
    let by_common_name = authority.sign(&[], |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "a.example");
    });
    is_not_trusted_by(&authority, by_common_name, "https://a.example/");
}

#[test]
fn a_certificate_that_nobody_signed_is_refused() {
    is_not_trusted(self_signed(&["a.example"]), "https://a.example/");
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    is_not_trusted(Authority::new().sign(&["a.example"], |_| ()), "https://a.example/");
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    let authority = Authority::new();
    let expired = authority.sign(&["a.example"], |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
    });
    is_not_trusted_by(&authority, expired, "https://a.example/");
    let early = authority.sign(&["a.example"], |params| {
        (params.not_before, params.not_after) = (date_time_ymd(3000, 1, 1), date_time_ymd(3001, 1, 1));
    });
    is_not_trusted_by(&authority, early, "https://a.example/");
}

#[test]
fn a_certificate_for_something_else_is_refused() {
    let authority = Authority::new();
    let of_a_client = authority.sign(&["a.example"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    is_not_trusted_by(&authority, of_a_client, "https://a.example/");
    // A certificate that was signed by one that may not sign.
    let (key, params) = (KeyPair::generate().unwrap(), params(&["b.example"], |_| ()));
    let leaf = params.signed_by(&key, &authority.issuer).unwrap().der().clone();
    let issuer = Authority { certificate: leaf.clone(), issuer: Issuer::new(params, key) };
    let mut forged = issuer.sign(&["a.example"], |_| ());
    forged.chain.push(leaf);
    is_not_trusted_by(&authority, forged, "https://a.example/");
}

#[test]
fn what_is_no_certificate_cannot_be_trusted() {
    for bytes in [&b""[..], b"-----BEGIN CERTIFICATE-----", b"0\x82"] {
        assert!(HttpClient::builder().trust(bytes.to_vec()).is_err());
    }
}

#[test]
fn a_plain_server_is_not_spoken_to_over_tls() {
    let authority = Authority::new();
    // What it gets is the beginning of TLS, and it says that it does not understand.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        all
    });
    let gate = gate(&authority, address);
    let error = failure(get("https://a.example/").grants(hosts(&["https://a.example"]).secret("KEY").unwrap()), &gate);
    assert_eq!(error, "ErrorCode::TlsProtocolError");
    drop(gate);
    let sent = answering.join().unwrap();
    assert!(!String::from_utf8_lossy(&sent).contains("canary"));
}

#[test]
fn a_server_over_tls_is_not_spoken_to_in_plain() {
    let authority = Authority::new();
    let server = TlsServer::start(authority.sign(&["a.example"], |_| ()));
    let call =
        get("http://a.example/").grants(hosts(&["http://a.example", "https://a.example"]).secret("KEY").unwrap());
    let error = failure(call, &gate(&authority, server.address));
    assert!(["ErrorCode::HttpProtocolError", "ErrorCode::HttpResponseIncomplete"].contains(&error.as_str()), "{error}");
    assert_eq!(server.seen.load(Ordering::SeqCst), 0);
}
