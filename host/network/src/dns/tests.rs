use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::thread;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::{A, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use proptest::prelude::*;

use super::*;

struct Fake(Vec<Network>);

impl Directory for Fake {
    fn networks(&self) -> Vec<Network> {
        self.0.clone()
    }
}

fn endpoint(names: &[&str], addresses: &[&str]) -> Endpoint {
    Endpoint {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    }
}

/// `back` is internal; `front` has a way out.
fn networks() -> Vec<Network> {
    let db = endpoint(&["db_1", "database", "0123456789ab"], &["10.0.0.2", "fd00::2"]);
    let web = endpoint(&["Web", "www"], &["10.0.1.3"]);
    let other = endpoint(&["web-2", "www"], &["10.0.1.4"]);
    vec![
        Network { name: "back".to_owned(), internal: true, endpoints: vec![db] },
        Network { name: "front".to_owned(), internal: false, endpoints: vec![web, other] },
    ]
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_labels(name.split('.').map(str::as_bytes)).unwrap(), kind));
    message
}

/// A resolver that has no name server to ask.
fn alone(networks: Vec<Network>) -> Resolver<Fake> {
    Resolver::new(Fake(networks), Servers::Fixed(Vec::new()))
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn ask<D: Directory>(resolver: &Resolver<D>, query: &Message, transport: Transport) -> Message {
    let bytes = block_on(resolver.answer(&query.to_vec().unwrap(), transport));
    let answer = Message::from_vec(&bytes).unwrap();
    assert_eq!(answer.metadata.id, query.metadata.id);
    assert_eq!(answer.metadata.message_type, MessageType::Response);
    answer
}

fn addresses(answer: &Message) -> Vec<String> {
    answer.answers.iter().map(|record| record.data.to_string()).collect()
}

#[test]
fn containers_are_found_by_each_of_their_names() {
    let resolver = alone(networks());
    for name in ["db_1", "DB_1", "database", "0123456789ab", "db_1.back", "database.BACK"] {
        let answer = ask(&resolver, &query(name, RecordType::A), Transport::Udp);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{name}");
        assert!(answer.metadata.recursion_available);
        assert_eq!(addresses(&answer), ["10.0.0.2"], "{name}");
        let answer = ask(&resolver, &query(name, RecordType::AAAA), Transport::Tcp);
        assert_eq!(addresses(&answer), ["fd00::2"], "{name}");
    }
    let mut both = addresses(&ask(&resolver, &query("www", RecordType::A), Transport::Udp));
    both.sort();
    assert_eq!(both, ["10.0.1.3", "10.0.1.4"]);
}

#[test]
fn a_known_name_without_such_a_record_has_no_data() {
    let resolver = alone(networks());
    for (name, kind) in [("web", RecordType::AAAA), ("db_1", RecordType::MX), ("web", RecordType::TXT)] {
        let answer = ask(&resolver, &query(name, kind), Transport::Udp);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert!(answer.answers.is_empty());
    }
}

#[test]
fn addresses_lead_back_to_names() {
    let resolver = alone(networks());
    let v6 = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
    for (name, expected) in [("3.1.0.10.in-addr.arpa", "Web.front."), (v6, "db_1.back.")] {
        let answer = ask(&resolver, &query(name, RecordType::PTR), Transport::Udp);
        assert_eq!(addresses(&answer), [expected], "{name}");
    }
    let answer = ask(&resolver, &query("9.9.9.9.in-addr.arpa", RecordType::PTR), Transport::Udp);
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

/// The upstream of this one would answer anything.
#[test]
fn nothing_leaves_internal_networks() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let servers = || Servers::Fixed(vec![server.local_addr().unwrap()]);
    for networks in [Vec::new(), networks()[..1].to_vec()] {
        let resolver = Resolver::new(Fake(networks), servers());
        let answer = ask(&resolver, &query("example.org", RecordType::A), Transport::Udp);
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert!(server.recv(&mut [0; 512]).is_err());
    }
}

#[test]
fn nonsense_is_refused() {
    let resolver = alone(networks());
    let answer = |message: &Message| ask(&resolver, message, Transport::Udp).metadata.response_code;
    let mut notify = query("web", RecordType::SOA);
    notify.metadata.op_code = OpCode::Notify;
    assert_eq!(answer(&notify), ResponseCode::NotImp);
    let mut two = query("web", RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(answer(&two), ResponseCode::FormErr);
    let mut chaos = query("version.bind", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(answer(&chaos), ResponseCode::Refused);
    assert_eq!(answer(&query("front", RecordType::AXFR)), ResponseCode::Refused);
    let mut response = query("web", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    assert_eq!(answer(&response), ResponseCode::FormErr);
}

/// What a fake name server does with a query.
type Behaviour = fn(&Message) -> Vec<Vec<u8>>;

/// A name server on both transports, which answers so many datagrams and streams.
fn server(datagrams: usize, udp: Behaviour, streams: usize, tcp: Behaviour) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for _ in 0..datagrams {
            let mut buffer = [0; 4096];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            for answer in udp(&Message::from_vec(&buffer[..length]).unwrap()) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    thread::spawn(move || {
        for _ in 0..streams {
            let (mut stream, _) = listener.accept().unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut buffer = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut buffer).unwrap();
            for answer in tcp(&Message::from_vec(&buffer).unwrap()) {
                stream.write_all(&(answer.len() as u16).to_be_bytes()).unwrap();
                stream.write_all(&answer).unwrap();
            }
        }
    });
    address
}

fn reply(query: &Message) -> Message {
    let mut message = Message::response(query.metadata.id, OpCode::Query);
    message.add_queries(query.queries.clone());
    let name = query.queries[0].name().clone();
    message.add_answer(Record::from_rdata(name, 60, RData::A(A([192, 0, 2, 1].into()))));
    message
}

fn right(query: &Message) -> Vec<Vec<u8>> {
    vec![reply(query).to_vec().unwrap()]
}

fn truncated(query: &Message) -> Vec<Vec<u8>> {
    let mut message = Message::response(query.metadata.id, OpCode::Query);
    message.add_queries(query.queries.clone());
    message.metadata.truncation = true;
    vec![message.to_vec().unwrap()]
}

fn large(query: &Message) -> Vec<Vec<u8>> {
    let mut message = reply(query);
    let name = query.queries[0].name().clone();
    for _ in 0..20 {
        message.add_answer(Record::from_rdata(name.clone(), 60, RData::TXT(TXT::new(vec!["x".repeat(200)]))));
    }
    vec![message.to_vec().unwrap()]
}

/// What a server would send that guesses, or that answers another question, before the right answer.
fn forged(query: &Message) -> Vec<Vec<u8>> {
    let mut wrong_id = reply(query);
    wrong_id.metadata.id = wrong_id.metadata.id.wrapping_add(1);
    let mut wrong_name = reply(query);
    wrong_name.queries[0].set_name(Name::from_ascii("evil.example.").unwrap());
    let mut wrong_kind = reply(query);
    wrong_kind.queries[0].set_query_type(RecordType::TXT);
    let mut no_question = reply(query);
    no_question.queries.clear();
    let wrong = [wrong_id, wrong_name, wrong_kind, no_question, query.clone()];
    let mut all: Vec<_> = wrong.iter().map(|message| message.to_vec().unwrap()).collect();
    all.extend([Vec::new(), vec![0; 5], vec![255; 600]]);
    all.extend(right(query));
    all
}

fn failing(query: &Message) -> Vec<Vec<u8>> {
    vec![Message::error_msg(query.metadata.id, OpCode::Query, ResponseCode::ServFail).to_vec().unwrap()]
        .into_iter()
        .map(|mut bytes| {
            let mut message = Message::from_vec(&bytes).unwrap();
            message.add_queries(query.queries.clone());
            bytes = message.to_vec().unwrap();
            bytes
        })
        .collect()
}

fn nothing(_: &Message) -> Vec<Vec<u8>> {
    Vec::new()
}

fn through(servers: Vec<SocketAddr>, query: &Message, transport: Transport) -> Message {
    ask(&Resolver::new(Fake(networks()), Servers::Fixed(servers)), query, transport)
}

#[test]
fn everything_else_is_asked_of_the_servers() {
    let address = server(2, right, 0, nothing);
    for transport in [Transport::Udp, Transport::Tcp] {
        let answer = through(vec![address], &query("example.org", RecordType::A), transport);
        assert_eq!(addresses(&answer), ["192.0.2.1"]);
        assert!(answer.edns.is_none());
    }
}

#[test]
fn forged_answers_are_passed_over() {
    let answer =
        through(vec![server(1, forged, 0, nothing)], &query("example.org", RecordType::A), Transport::Udp);
    assert_eq!(addresses(&answer), ["192.0.2.1"]);
    assert_eq!(answer.queries, query("example.org", RecordType::A).queries);
}

#[test]
fn the_next_server_is_asked_when_one_fails() {
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let servers = vec![closed, server(2, failing, 0, nothing), server(1, right, 0, nothing)];
    let answer = through(servers, &query("example.org", RecordType::A), Transport::Udp);
    assert_eq!(addresses(&answer), ["192.0.2.1"]);
    // When no server knows better, what the last one said is the answer.
    let answer =
        through(vec![server(1, failing, 0, nothing)], &query("example.org", RecordType::A), Transport::Udp);
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(answer.queries.len(), 1);
}

#[test]
fn what_does_not_fit_is_fetched_over_tcp() {
    let question = query("example.org", RecordType::TXT);
    let address = server(3, truncated, 3, large);
    let answer = through(vec![address], &question, Transport::Tcp);
    assert_eq!((answer.answers.len(), answer.metadata.truncation), (21, false));
    // A program that asked over UDP gets as much as it can take, which here is nothing, and asks again over TCP.
    let answer = through(vec![address], &question, Transport::Udp);
    assert_eq!((answer.answers.len(), answer.metadata.truncation), (0, true));
    let mut roomy = question.clone();
    let mut edns = Edns::new();
    edns.set_max_payload(8000);
    roomy.set_edns(edns);
    let answer = through(vec![address], &roomy, Transport::Udp);
    assert!(answer.metadata.truncation, "4096 bytes are the most");
}

#[test]
fn the_hosts_file_is_read_again_when_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("resolv.conf");
    let upstream = Upstream::new(Servers::File(path.clone()));
    assert_eq!(upstream.servers(), ["127.0.0.1:53".parse().unwrap()]);
    std::fs::write(&path, "nameserver 192.0.2.7\n").unwrap();
    assert_eq!(upstream.servers(), ["192.0.2.7:53".parse().unwrap()]);
    std::fs::write(directory.path().join("new"), "nameserver 192.0.2.8\n").unwrap();
    std::fs::rename(directory.path().join("new"), &path).unwrap();
    assert_eq!(upstream.servers(), ["192.0.2.8:53".parse().unwrap()]);
}

#[test]
fn resolv_conf_is_read_as_the_c_library_does() {
    let text = "# comment\nnameserver 127.0.0.53 ; local\n nameserver ::1\nnameserver nonsense\nnameserver 1.1.1.1\n\
        nameserver 2.2.2.2\nsearch a b\ndomain c\noptions edns0 trust-ad\noptions rotate\nsortlist x\nnameserver\n";
    let found = ResolvConf::parse(text);
    let servers: Vec<String> = found.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["127.0.0.53:53", "[::1]:53", "1.1.1.1:53"]);
    assert_eq!(
        (found.search, found.options.join(" ")),
        (vec!["c".to_owned()], "edns0 trust-ad rotate".to_owned())
    );
    let scoped =
        ResolvConf::parse("nameserver fe80::1%7\nnameserver fe80::1%lo\nnameserver fe80::1%../lo").servers;
    assert_eq!(scoped, ["[fe80::1%7]:53".parse().unwrap(), "[fe80::1%1]:53".parse().unwrap()]);
    assert_eq!(ResolvConf::read(Path::new("/nowhere/at/all")).unwrap(), ResolvConf::default());
}

#[test]
fn containers_see_the_agent_and_the_hosts_domains() {
    let host = ResolvConf::parse("nameserver 192.0.2.1\nsearch a.example\noptions edns0\n");
    let dns = shown(&host, &[], &[], true);
    assert!(dns.is_resolved_by_host());
    assert_eq!((dns.search.join(" "), dns.options.join(" ")), ("a.example".into(), "edns0 ndots:0".into()));
    let dns = shown(&host, &[".".to_owned()], &["ndots:2".to_owned()], true);
    assert_eq!((dns.search.join(" "), dns.options.join(" ")), (String::new(), "ndots:2".into()));
    assert_eq!(shown(&host, &[], &[], false).options, ["edns0"]);
}

/// No name server is asked: these networks are internal.
fn closed() -> Resolver<Fake> {
    alone(networks().into_iter().map(|network| Network { internal: true, ..network }).collect())
}

proptest! {
    #[test]
    fn arbitrary_queries_get_a_bounded_answer(bytes in proptest::collection::vec(any::<u8>(), 12..300)) {
        let answer = block_on(closed().answer(&bytes, Transport::Udp));
        prop_assert!((12..=4096).contains(&answer.len()));
        prop_assert_eq!(&answer[..2], &bytes[..2]);
        prop_assert!(answer[2] & 0x80 != 0);
    }

    #[test]
    fn damaged_queries_get_a_bounded_answer(at in 2usize..33, value in any::<u8>()) {
        let mut bytes = query("database.back", RecordType::A).to_vec().unwrap();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        let answer = block_on(closed().answer(&bytes, Transport::Udp));
        prop_assert!((12..=4096).contains(&answer.len()) && answer[..2] == bytes[..2]);
    }

    #[test]
    fn arbitrary_answers_are_none(bytes in proptest::collection::vec(any::<u8>(), 0..300), id in any::<u16>()) {
        let question = query("example.org", RecordType::A).to_vec().unwrap();
        let request = Request::parse(&question, Transport::Udp).map_err(|_| ()).unwrap();
        prop_assert!(request.check(&bytes, id).is_none());
    }

    #[test]
    fn damaged_answers_stay_within_the_limit(at in 0usize..60, value in any::<u8>(), length in 0usize..60) {
        let question = query("example.org", RecordType::A);
        let request = Request::parse(&question.to_vec().unwrap(), Transport::Udp).map_err(|_| ()).unwrap();
        let mut bytes = reply(&question).to_vec().unwrap();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        bytes.truncate(bytes.len().saturating_sub(length));
        if request.check(&bytes, 77).is_some() {
            prop_assert!(request.pass_on(bytes).len() <= 512);
        }
    }
}
