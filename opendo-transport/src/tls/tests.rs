use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::{AnyConnection, Frames, Transport as _};

/// A root, and an identity it vouches for.
fn authority(names: &[&str]) -> (String, Identity) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &root).unwrap();
    (root.pem(), Identity::from_pem(certificate.pem(), key.serialize_pem()).unwrap())
}

async fn listener(identity: Identity) -> crate::Listener {
    let address: Address = "tls://127.0.0.1:0".parse().unwrap();
    address.listen_with(&ListenOptions::default().identity(identity)).await.unwrap()
}

fn believing(pem: &str) -> ConnectOptions {
    ConnectOptions::default().trust(Trust::only(pem).unwrap())
}

#[tokio::test]
async fn messages_pass_between_those_who_believe_each_other() {
    let (root, identity) = authority(&["127.0.0.1", "localhost"]);
    let mut listener = listener(identity).await;
    let localhost = listener.address().to_string().replace("127.0.0.1", "localhost");
    for address in [listener.address().clone(), localhost.parse().unwrap()] {
        let serving = async {
            let (mut sender, mut receiver) = listener.accept().await.unwrap().split();
            let message = receiver.receive().await.unwrap().unwrap();
            let mut batch = Frames::default();
            batch.push(&message);
            sender.send(&mut batch).await.unwrap();
            // Each direction ends for itself.
            drop(sender);
            assert!(receiver.receive().await.is_none());
        };
        let connecting = async {
            let options = believing(&root);
            let AnyConnection::Bytes(connection) = address.connect_any(&options).await.unwrap() else {
                panic!()
            };
            assert_eq!((connection.peer().scheme(), connection.peer().is_local()), ("tls", true));
            let (mut sender, mut receiver) = connection.split();
            let mut batch = Frames::default();
            batch.push(&[7; 100_000]);
            sender.send(&mut batch).await.unwrap();
            assert_eq!(receiver.receive().await.unwrap().unwrap(), [7; 100_000][..]);
            assert!(receiver.receive().await.is_none());
            sender.close().await.unwrap();
        };
        tokio::join!(serving, connecting);
    }
}

/// What each side learns when a client with `options` connects to `address`.
async fn refused(
    listener: &mut crate::Listener,
    address: &Address,
    options: &ConnectOptions,
) -> (TransportError, TransportError) {
    let serving = async {
        let (_sender, mut receiver) = listener.accept().await.unwrap().split();
        receiver.receive().await.unwrap().unwrap_err()
    };
    let (client, server) = tokio::join!(address.connect_any(options), serving);
    (client.unwrap_err(), server)
}

#[tokio::test]
async fn a_server_that_is_not_believed_is_refused() {
    let (_, identity) = authority(&["127.0.0.1"]);
    let (other_root, _) = authority(&["127.0.0.1"]);
    let mut listener = listener(identity).await;
    let address = listener.address().clone();
    let (ours, theirs) = refused(&mut listener, &address, &believing(&other_root)).await;
    let expected = format!("could not connect to {address}: invalid peer certificate");
    assert!(ours.to_string().starts_with(&expected), "{ours}");
    assert!(theirs.to_string().contains("received fatal alert"), "{theirs}");
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let (root, identity) = authority(&["elsewhere.example"]);
    let mut listener = listener(identity).await;
    let address = listener.address().clone();
    let (ours, _) = refused(&mut listener, &address, &believing(&root)).await;
    assert!(ours.to_string().contains("not valid for name"), "{ours}");
}

#[tokio::test]
async fn who_does_not_speak_tls_keeps_nobody_else_waiting() {
    let (root, identity) = authority(&["127.0.0.1"]);
    let mut listener = listener(identity).await;
    let address = listener.address().clone();
    let bare = address.to_string().replace("tls://", "");
    // One that says nothing, one that says something else, and one that leaves.
    let _silent = TcpStream::connect(&bare).await.unwrap();
    let _silent = listener.accept().await.unwrap();
    let mut plain = TcpStream::connect(&bare).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let (mut sender, mut receiver) = listener.accept().await.unwrap().split();
    let error = receiver.receive().await.unwrap().unwrap_err();
    assert!(matches!(error, TransportError::Io { .. }), "{error}");
    assert!(receiver.receive().await.is_none());
    let mut batch = Frames::default();
    batch.push(b"x");
    assert!(matches!(sender.send(&mut batch).await, Err(TransportError::Closed)));
    drop(TcpStream::connect(&bare).await.unwrap());
    let (_sender, mut receiver) = listener.accept().await.unwrap().split();
    let error = receiver.receive().await.unwrap().unwrap_err();
    assert!(matches!(error, TransportError::Truncated), "{error}");

    let options = believing(&root);
    let connecting = async { drop(address.connect_any(&options).await.unwrap()) };
    let serving = async {
        let (_sender, mut receiver) = listener.accept().await.unwrap().split();
        assert!(receiver.receive().await.is_none());
    };
    tokio::join!(connecting, serving);
}

/// Two tasks that wait for one handshake are both told that it is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_halves_wait_for_the_handshake() {
    let (root, identity) = authority(&["127.0.0.1"]);
    let mut listener = listener(identity).await;
    let address = listener.address().clone();
    let bare = address.to_string().replace("tls://", "");
    let client = TcpStream::connect(&bare).await.unwrap();
    let (mut sender, mut receiver) = listener.accept().await.unwrap().split();
    let receiving = tokio::spawn(async move { receiver.receive().await.unwrap().unwrap() });
    let sending = tokio::spawn(async move {
        let mut batch = Frames::default();
        batch.push(b"from the server");
        sender.send(&mut batch).await.map(|_| sender)
    });
    let mut stream = Trust::only(root).unwrap().connect("127.0.0.1", client).await.unwrap();
    stream.write_all(b"\x01\0\0\0x").await.unwrap();
    stream.flush().await.unwrap();
    let mut message = [0; 19];
    stream.read_exact(&mut message).await.unwrap();
    assert_eq!(&message[4..], b"from the server");
    assert_eq!(receiving.await.unwrap(), "x");
    sending.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_cannot_be_used_says_so() {
    let (root, _) = authority(&["127.0.0.1"]);
    for bad in [Trust::only("").map(drop), Identity::from_pem(&root, &root).map(drop)] {
        assert!(matches!(bad.unwrap_err(), TransportError::Certificate { .. }));
    }
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    assert!(matches!(Identity::from_pem(&root, other_key), Err(TransportError::Certificate { .. })));
    let missing = Identity::from_files("/nowhere/chain.pem", "/nowhere/key.pem").unwrap_err();
    assert!(missing.to_string().starts_with("could not read /nowhere/chain.pem"), "{missing}");
    let address: Address = "tls://127.0.0.1:0".parse().unwrap();
    let error = address.listen(&Limits::default()).await.unwrap_err();
    assert!(error.to_string().contains("ListenOptions::identity"), "{error}");
}

#[cfg(any(feature = "websocket", feature = "http"))]
#[tokio::test]
async fn websockets_and_batches_go_over_it() {
    let (root, identity) = authority(&["127.0.0.1"]);
    let address: Address = "https://127.0.0.1:0/a".parse().unwrap();
    let mut listener = socket::listen(&address, &ListenOptions::default().identity(identity)).await.unwrap();
    let address = listener.address().clone();
    let options = believing(&root);

    #[cfg(feature = "http")]
    {
        let AnyConnection::Batch(connection) = address.connect_any(&options).await.unwrap() else { panic!() };
        let (mut sender, mut receiver) = connection.split();
        let mut batch = crate::Lines::default();
        batch.push("one".to_owned());
        sender.send(&mut batch).await.unwrap();
        sender.close().await.unwrap();
        let serving = async {
            let mut socket = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\none") {
                socket.read_buf(&mut request).await.unwrap();
            }
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo").await.unwrap();
        };
        let ((), received) = tokio::join!(serving, receiver.receive());
        assert_eq!(received.unwrap().unwrap(), "two");
    }
    #[cfg(feature = "websocket")]
    {
        let address: Address = address.to_string().replace("https", "wss").parse().unwrap();
        let options = options.text();
        let serving = async {
            let socket = listener.accept().await.unwrap();
            tokio_tungstenite::accept_async(socket).await.unwrap()
        };
        let (connection, _open) = tokio::join!(address.connect_any(&options), serving);
        assert!(matches!(connection.unwrap(), AnyConnection::Text(_)));
    }
}
