//! DNS messages: what a program of the guest asks, and what it is told.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use moat_protocol::names::{MIN_MESSAGE, Transport};

/// How long an answer about a container may be kept, in seconds. It may be another one's address after a restart.
const TTL: u32 = 5;

/// What a program can take in one datagram when it does not say, in bytes (RFC 1035, 4.2.1).
const PLAIN_DATAGRAM: usize = 512;

/// The most that is sent in one datagram, also to a program that says that it can take more.
const LARGEST_DATAGRAM: usize = 4096;

/// The largest answer that is asked of name servers in one datagram, in bytes: no link on the way splits it.
const UPSTREAM_DATAGRAM: u16 = 1232;

/// A query that makes sense: one question of the Internet class.
pub struct Request {
    id: u16,
    query: Query,
    recursion_desired: bool,
    checking_disabled: bool,
    authentic_data: bool,
    /// What the program said of itself: the largest datagram that it takes, and whether it wants signatures.
    edns: Option<(u16, bool)>,
    transport: Transport,
}

impl Request {
    /// Reads a query, of which [`MIN_MESSAGE`] bytes are there.
    ///
    /// # Errors
    /// The answer, when the query makes no sense.
    pub fn parse(bytes: &[u8], transport: Transport) -> Result<Self, Vec<u8>> {
        let id = u16::from_be_bytes(bytes.first_chunk().copied().unwrap_or_default());
        let refusal = |op_code, code| bytes_of(&Message::error_msg(id, op_code, code));
        let message = Message::from_vec(bytes).map_err(|_| refusal(OpCode::Query, ResponseCode::FormErr))?;
        let metadata = &message.metadata;
        if metadata.message_type != MessageType::Query {
            return Err(refusal(OpCode::Query, ResponseCode::FormErr));
        }
        if metadata.op_code != OpCode::Query {
            return Err(refusal(metadata.op_code, ResponseCode::NotImp));
        }
        let [query] = message.queries.as_slice() else {
            return Err(refusal(OpCode::Query, ResponseCode::FormErr));
        };
        let request = Self {
            id,
            query: query.clone(),
            recursion_desired: metadata.recursion_desired,
            checking_disabled: metadata.checking_disabled,
            authentic_data: metadata.authentic_data,
            edns: message.edns.as_ref().map(|edns| (edns.max_payload(), edns.flags().dnssec_ok)),
            transport,
        };
        // A transfer of a whole zone is no business of a container's, and other classes are out of use.
        let is_refused = query.query_class() != DNSClass::IN
            || matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR);
        if is_refused { Err(request.failure(ResponseCode::Refused)) } else { Ok(request) }
    }

    /// What type of record is asked for.
    pub fn kind(&self) -> RecordType {
        self.query.query_type()
    }

    /// The name that is asked for in small letters, if it is text and each dot in it separates labels.
    pub fn host_name(&self) -> Option<String> {
        let labels: Vec<&str> =
            self.query.name().iter().map(|label| std::str::from_utf8(label).ok()).collect::<Option<_>>()?;
        let is_plain = !labels.is_empty() && labels.iter().all(|label| !label.contains('.'));
        is_plain.then(|| labels.join(".").to_ascii_lowercase())
    }

    /// The address that a reverse name stands for.
    pub fn address(&self) -> Option<IpAddr> {
        let network = self.query.name().parse_arpa_name().ok()?;
        (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())
    }

    /// A number that differs from query to query.
    pub fn chance(&self) -> usize {
        self.id.into()
    }

    /// The query as it is sent to a name server: nothing of what the guest wrote but the question and what it said of
    /// itself.
    pub fn for_upstream(&self, id: u16) -> Vec<u8> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.checking_disabled = self.checking_disabled;
        message.metadata.authentic_data = self.authentic_data;
        message.add_query(self.query.clone());
        self.add_edns(&mut message, UPSTREAM_DATAGRAM);
        bytes_of(&message)
    }

    /// Whether a message from a name server is the answer to [`Request::for_upstream`] with that id.
    pub fn check(&self, answer: &[u8], id: u16) -> Option<Answer> {
        let mut decoder = BinDecoder::new(answer);
        let header = hickory_proto::op::Header::read(&mut decoder).ok()?;
        let metadata = header.metadata;
        let is_answer = metadata.id == id
            && metadata.message_type == MessageType::Response
            && metadata.op_code == OpCode::Query
            && header.counts.queries == 1;
        if !is_answer {
            return None;
        }
        let query = Message::read_queries(&mut decoder, 1).ok()?.pop()?;
        let same = query.name() == self.query.name()
            && query.query_type() == self.query.query_type()
            && query.query_class() == self.query.query_class();
        same.then_some(Answer { code: metadata.response_code, truncated: metadata.truncation })
    }

    /// A name server's answer, checked, as the program gets it.
    pub fn pass_on(&self, mut answer: Vec<u8>) -> Vec<u8> {
        if let Some(id) = answer.first_chunk_mut() {
            *id = self.id.to_be_bytes();
        }
        self.fit(answer)
    }

    /// An answer of records, or that there are none.
    pub fn answer(&self, records: Vec<RData>) -> Vec<u8> {
        let mut message = self.response(ResponseCode::NoError);
        for data in records {
            message.add_answer(Record::from_rdata(self.query.name().clone(), TTL, data));
        }
        self.fit(bytes_of(&message))
    }

    /// An answer that says what went wrong.
    pub fn failure(&self, code: ResponseCode) -> Vec<u8> {
        bytes_of(&self.response(code))
    }

    /// The answer, or as much as says that it is too large for a datagram.
    fn fit(&self, answer: Vec<u8>) -> Vec<u8> {
        let limit = match (self.transport, self.edns) {
            (Transport::Tcp, _) => usize::from(u16::MAX),
            (Transport::Udp, None) => PLAIN_DATAGRAM,
            (Transport::Udp, Some((size, _))) => usize::from(size).clamp(PLAIN_DATAGRAM, LARGEST_DATAGRAM),
        };
        if (MIN_MESSAGE..=limit).contains(&answer.len()) {
            return answer;
        }
        let mut message = self.response(ResponseCode::NoError);
        message.metadata.truncation = true;
        bytes_of(&message)
    }

    fn response(&self, code: ResponseCode) -> Message {
        let mut message = Message::response(self.id, OpCode::Query);
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.recursion_available = true;
        message.metadata.response_code = code;
        message.add_query(self.query.clone());
        self.add_edns(&mut message, UPSTREAM_DATAGRAM);
        message
    }

    /// Only to who speaks it (RFC 6891, 7).
    fn add_edns(&self, message: &mut Message, size: u16) {
        if let Some((_, dnssec_ok)) = self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(size).set_dnssec_ok(dnssec_ok);
            message.set_edns(edns);
        }
    }
}

/// What a name server's answer says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// How it went.
    pub code: ResponseCode,
    /// Whether there is more over TCP.
    pub truncated: bool,
}

/// A message as it travels. All of them are made of parts that were read from one; what still cannot be written is told
/// as a bare failure.
fn bytes_of(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap_or_else(|_| {
        let [high, low] = message.metadata.id.to_be_bytes();
        [&[high, low, 0x80, 2][..], &[0; 8]].concat()
    })
}
