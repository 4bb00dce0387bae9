//! Groups of links that an alternatives system manages (update-alternatives(1)).

/// A link group of update-alternatives(1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// Name of the link in `/etc/alternatives`.
    pub name: Box<[u8]>,
    /// Whether the administrator made the choice; otherwise the highest priority decides.
    pub manual: bool,
    /// Generic path, a link to `/etc/alternatives/NAME`.
    pub link: Box<[u8]>,
    /// Target of the link `/etc/alternatives/NAME` as written; `None` if it is not a link.
    pub current: Option<Box<[u8]>>,
    /// Links that follow the main one.
    pub slaves: Vec<Slave>,
    /// Candidates.
    pub choices: Vec<Choice>,
}

/// Name in `/etc/alternatives` and generic path of a link that follows the main one.
pub type Slave = (Box<[u8]>, Box<[u8]>);

/// One choice of an [`Alternative`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Target of the main link.
    pub path: Box<[u8]>,
    /// Priority; the highest one is chosen in automatic mode.
    pub priority: i64,
    /// Targets of the slave links, in the order of [`Alternative::slaves`]; empty if the choice
    /// has none.
    pub slaves: Vec<Box<[u8]>>,
}
