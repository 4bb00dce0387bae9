//! Groups of links that an alternatives system manages (update-alternatives(1)).

/// A link group of update-alternatives(1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// The name of the link in `/etc/alternatives`.
    pub name: Box<[u8]>,
    /// Whether the administrator chose; else the highest priority counts.
    pub manual: bool,
    /// The generic path, which leads to `/etc/alternatives`.
    pub link: Box<[u8]>,
    /// What `/etc/alternatives/NAME` leads to, as it is written there; `None` if it is no link.
    pub current: Option<Box<[u8]>>,
    /// The links that follow the main one.
    pub slaves: Vec<Slave>,
    /// What can be chosen.
    pub choices: Vec<Choice>,
}

/// Name in `/etc/alternatives` and generic path of a link that follows the main one.
pub type Slave = (Box<[u8]>, Box<[u8]>);

/// One choice of an [`Alternative`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Where the main link leads to.
    pub path: Box<[u8]>,
    /// The highest one is taken in automatic mode.
    pub priority: i64,
    /// Where the slaves lead to, in their order; empty for none.
    pub slaves: Vec<Box<[u8]>>,
}
