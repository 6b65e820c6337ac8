//! One call of the generated Thrift1 client over a connection.

use std::time::Duration;

use hbase_thrift::hbase::HbaseSyncClient;
use thrift1_runtime::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TCompactInputProtocol, TCompactOutputProtocol, TInputProtocol,
    TOutputProtocol,
};

use crate::cluster::ClusterError;
use crate::cluster::connection::Connection;
use crate::cluster::error::Call;
use crate::cluster::runtime_io::{MessageReader, MessageWriter};
use crate::cluster::thrift1::fault;
use crate::cluster::thrift1::input::{Checked, Shared};

/// The generated client over either protocol.
pub(crate) type Generated<'a> = HbaseSyncClient<Box<dyn TInputProtocol + 'a>, Box<dyn TOutputProtocol + 'a>>;

impl Connection {
    /// One call. Returns its result and the bytes of the reply.
    pub(crate) fn call_thrift1<T>(
        &mut self,
        call: &Call<'_>,
        timeout: Duration,
        run: impl FnOnce(&mut Generated<'_>) -> thrift1_runtime::Result<T>,
    ) -> Result<(T, usize), ClusterError> {
        let compact = self.transport.compact;
        let talk = |reader: MessageReader<'_>, writer: MessageWriter<'_>| {
            let (input, output) = protocols(compact, reader, writer);
            run(&mut HbaseSyncClient::new(input, output))
        };
        self.lend(call, timeout, talk, fault::read)
    }
}

fn protocols<'a>(
    compact: bool,
    reader: MessageReader<'a>,
    writer: MessageWriter<'a>,
) -> (Box<dyn TInputProtocol + 'a>, Box<dyn TOutputProtocol + 'a>) {
    let reader = Shared::new(reader);
    if compact {
        let input = Checked::new(TCompactInputProtocol::new(reader.clone()), reader, true);
        (Box::new(input), Box::new(TCompactOutputProtocol::new(writer)))
    } else {
        let input = Checked::new(TBinaryInputProtocol::new(reader.clone(), true), reader, false);
        (Box::new(input), Box::new(TBinaryOutputProtocol::new(writer, true)))
    }
}
