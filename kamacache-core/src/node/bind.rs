//! The addresses that a node listens on, for its peers and for the admin HTTP.

use crate::address::Address;
use crate::peers::transport::{Listener, Transport};
use crate::{Error, ErrorKind, Result};

/// Binds the first address that is free.
pub(super) async fn bind(
    transport: &Transport,
    addresses: &[Address],
) -> Result<(Listener, Address)> {
    let mut last = None;
    for address in addresses {
        match transport.bind(&address.to_string()).await {
            Ok((listener, port)) => return Ok((listener, address.with_port(port))),
            Err(error) => last = Some(refused(address, &error)),
        }
    }
    let error = last.expect("at least one address");
    if addresses.len() == 1 {
        return Err(error);
    }
    let (first, end) = (&addresses[0], addresses[addresses.len() - 1].port());
    Err(Error::new(
        error.kind(),
        format!("no port of {first}-{end} is free: {}", error.message()),
    ))
}

/// Binds where the admin HTTP listens, if anywhere.
#[cfg(feature = "admin")]
pub(super) async fn bind_admin(
    addresses: &[Address],
) -> Result<Option<(crate::sockets::TcpListener, Address)>> {
    if addresses.is_empty() {
        return Ok(None);
    }
    match bind(&Transport::Tcp(None), addresses).await {
        Ok((Listener::Tcp(listener, _), address)) => Ok(Some((listener, address))),
        #[cfg(feature = "test-util")]
        Ok(_) => unreachable!("TCP was asked for"),
        Err(error) => Err(Error::new(
            error.kind(),
            format!("admin_listen: {}", error.message()),
        )),
    }
}

fn refused(address: &Address, error: &std::io::Error) -> Error {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "it is taken; choose another port, or port 0 for any free one"
        }
        std::io::ErrorKind::AddrNotAvailable => "this host does not have that address",
        std::io::ErrorKind::PermissionDenied => "this user may not; choose a port above 1023",
        _ => "choose another address",
    };
    Error::new(
        ErrorKind::Unavailable,
        format!("cannot listen on {address}: {error}; {hint}"),
    )
}
