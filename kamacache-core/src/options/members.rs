//! The rules of a list of members, whoever wrote it.

use crate::address::Address;
use crate::{Error, Result};

const MAX_MEMBERS: usize = 10_000;

/// A user's member list in canonical form, sorted, without repetitions.
pub(crate) fn member_list(me: Option<&Address>, list: &[impl AsRef<str>]) -> Result<Vec<String>> {
    let members = found_members(me, list)?;
    let own = me.map(Address::to_string).unwrap_or_default();
    if !members.contains(&own) {
        return Err(Error::invalid_argument(format!(
            "own address {own} is not in the peer list {members:?}; add it, or set advertise to the one listed"
        )));
    }
    Ok(members)
}

/// The same for a list that discovery found, which may be without this node.
pub(crate) fn found_members(me: Option<&Address>, list: &[impl AsRef<str>]) -> Result<Vec<String>> {
    let Some(me) = me else {
        return Err(Error::invalid_argument(
            "a node without a listen address has no peers; start it with listen",
        ));
    };
    let mut members = Vec::with_capacity(list.len());
    for entry in list {
        members.extend(Address::parse_range(entry.as_ref())?);
        if members.len() > MAX_MEMBERS {
            return Err(Error::invalid_argument(format!(
                "the member list has more than {MAX_MEMBERS} members"
            )));
        }
    }
    if let Some(bad) = members
        .iter()
        .find(|member| member.port() == 0 || member.is_unspecified())
    {
        return Err(Error::invalid_argument(format!(
            "member {bad} cannot be dialled: write the host and the port that it advertises"
        )));
    }
    if let (true, Some(far)) = (
        me.is_loopback(),
        members.iter().find(|member| !member.is_loopback()),
    ) {
        return Err(Error::invalid_argument(format!(
            "this node advertises the loopback address {me}, which member {far} cannot dial; set advertise"
        )));
    }
    let mut members: Vec<String> = members.iter().map(Address::to_string).collect();
    members.sort_unstable();
    members.dedup();
    Ok(members)
}
