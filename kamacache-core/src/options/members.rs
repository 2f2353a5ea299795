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

/// One entry of a list in which entries that break a rule are skipped: this node
/// and that member can dial each other.
#[cfg_attr(
    not(any(feature = "dns", feature = "etcd", feature = "k8s", feature = "nacos")),
    allow(dead_code)
)]
pub(crate) fn check_member(me: &Address, member: &Address) -> Result<()> {
    check_address(member)?;
    check_reach(me, member)?;
    if member.is_loopback() && !me.is_loopback() {
        return Err(Error::invalid_argument(format!(
            "member {member} is a loopback address, which this node at {me} cannot dial; set advertise there"
        )));
    }
    Ok(())
}

fn check_address(member: &Address) -> Result<()> {
    if member.port() == 0 || member.is_unspecified() {
        return Err(Error::invalid_argument(format!(
            "member {member} cannot be dialled: write the host and the port that it advertises"
        )));
    }
    Ok(())
}

fn check_reach(me: &Address, member: &Address) -> Result<()> {
    if me.is_loopback() && !member.is_loopback() {
        return Err(Error::invalid_argument(format!(
            "this node advertises the loopback address {me}, which member {member} cannot dial; set advertise"
        )));
    }
    Ok(())
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
    members.iter().try_for_each(check_address)?;
    members
        .iter()
        .try_for_each(|member| check_reach(me, member))?;
    let mut members: Vec<String> = members.iter().map(Address::to_string).collect();
    members.sort_unstable();
    members.dedup();
    Ok(members)
}
