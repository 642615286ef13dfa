//! The automaton: a state is a set of stacks of places in the grammar, found when it is first reached.

use super::chars::ByteSet;
use super::rules::{Rules, Symbol};
use crate::{Error, ErrorKind, Result};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub type State = u32;

/// No text goes on from here.
pub const DEAD: State = 0;
const UNKNOWN: State = u32::MAX;
/// Below the lowest place of every stack.
const BOTTOM: u32 = u32::MAX;
/// A stack with nothing left to read: the text may end.
const DONE: u32 = u32::MAX - 1;
/// Each takes a kilobyte.
const MAX_STATES: usize = 1 << 16;

/// A place, and the stack below it: where to go on when the alternative is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Node {
    place: u32,
    below: u32,
}

#[derive(Debug)]
pub struct Automaton {
    pub rules: Arc<Rules>,
    /// Bytes that a text to be told apart may have.
    reach: u32,
    nodes: Vec<Node>,
    /// For each node, one that such texts cannot tell from it, the same for all that are alike.
    within: Vec<u32>,
    node_ids: HashMap<Node, u32>,
    /// For each state its stacks, by their top nodes, sorted.
    states: Vec<Vec<u32>>,
    state_ids: HashMap<Vec<u32>, State>,
    /// For each state, the state after each byte.
    next: Vec<[State; 256]>,
}

impl Automaton {
    /// `reach`: bytes of the longest text that `within` must tell apart.
    pub fn new(rules: Arc<Rules>, reach: u32) -> Result<(Automaton, State)> {
        let mut automaton = Automaton {
            rules: Arc::clone(&rules),
            reach,
            nodes: Vec::new(),
            within: Vec::new(),
            node_ids: HashMap::new(),
            states: Vec::new(),
            state_ids: HashMap::new(),
            next: Vec::new(),
        };
        automaton.state(Vec::new())?;
        let starts = rules.alternatives(0).iter().map(|start| Node { place: *start, below: BOTTOM });
        let first = automaton.closure(starts.collect());
        let first = automaton.state(first)?;
        Ok((automaton, first))
    }

    /// Whether the text may end here.
    pub fn may_end(&self, state: State) -> bool {
        self.states[state as usize].last() == Some(&DONE)
    }

    /// Whether anything may follow.
    pub fn goes_on(&self, state: State) -> bool {
        self.states[state as usize].first().is_some_and(|node| *node != DONE)
    }

    /// A state from which any text within reach goes on just as from this one, the same for all that are alike: most places of a long
    /// string whose characters are counted are.
    pub fn within(&mut self, state: State) -> Result<State> {
        let of_node = |node: &u32| self.within.get(*node as usize).copied().unwrap_or(*node);
        let mut stacks: Vec<u32> = self.states[state as usize].iter().map(of_node).collect();
        stacks.sort_unstable();
        stacks.dedup();
        self.state(stacks)
    }

    /// Whether it is time to forget states: a reply that counts far would find ever more.
    pub fn is_crowded(&self) -> bool {
        self.states.len() > MAX_STATES / 2
    }

    /// Forgets all states but these, which are numbered anew.
    pub fn keep<const N: usize>(&mut self, kept: [State; N]) -> Result<[State; N]> {
        let kept = kept.map(|state| self.states[state as usize].clone());
        self.states.clear();
        self.state_ids.clear();
        self.next.clear();
        self.state(Vec::new())?;
        let mut numbers = [DEAD; N];
        for (number, stacks) in numbers.iter_mut().zip(kept) {
            *number = self.state(stacks)?;
        }
        Ok(numbers)
    }

    pub fn bytes(&self) -> usize {
        // A node is kept twice, once as a key.
        self.states.len() * (size_of::<[State; 256]>() + 64) + self.nodes.len() * 4 * size_of::<Node>()
    }

    #[inline]
    pub fn step(&mut self, state: State, byte: u8) -> Result<State> {
        match self.next[state as usize][usize::from(byte)] {
            UNKNOWN => self.find(state, byte),
            known => Ok(known),
        }
    }

    /// Bytes that the same stacks read lead to the same state: it is found for all of them at once.
    fn find(&mut self, state: State, byte: u8) -> Result<State> {
        let (mut alike, mut after) = (ByteSet::ALL, Vec::new());
        for node in self.states[state as usize].iter().filter(|node| **node != DONE) {
            let Node { place, below } = self.nodes[*node as usize];
            let Symbol::Byte(set) = self.rules.symbols[place as usize] else { continue };
            let set = &self.rules.sets[set as usize];
            if set.has(byte) {
                alike = alike.intersection(set);
                after.push(Node { place: place + 1, below });
            } else {
                alike = alike.intersection(&set.complement());
            }
        }
        let next = match after.is_empty() {
            true => DEAD,
            false => {
                let after = self.closure(after);
                self.state(after)?
            }
        };
        for (byte, known) in (0..).zip(&mut self.next[state as usize]) {
            if alike.has(byte) {
                *known = next;
            }
        }
        Ok(next)
    }

    /// The stacks whose next symbol is a byte, or that are done, reached without reading. The grammar is not left-recursive, so there
    /// are finitely many.
    fn closure(&mut self, from: Vec<Node>) -> Vec<u32> {
        // Within a character that is the whole of it.
        if let [node] = from[..]
            && matches!(self.rules.symbols[node.place as usize], Symbol::Byte(_))
        {
            return vec![self.node(node)];
        }
        let mut seen: HashSet<Node> = from.iter().copied().collect();
        let (mut open, mut stacks) = (from, Vec::new());
        while let Some(node) = open.pop() {
            let mut visit = |node| {
                if seen.insert(node) {
                    open.push(node);
                }
            };
            match self.rules.symbols[node.place as usize] {
                Symbol::Byte(_) => stacks.push(self.node(node)),
                symbol @ (Symbol::MayEnd | Symbol::End) => {
                    match node.below {
                        BOTTOM => stacks.push(DONE),
                        below => visit(self.nodes[below as usize]),
                    }
                    if symbol == Symbol::MayEnd {
                        visit(Node { place: node.place + 1, ..node });
                    }
                }
                Symbol::Rule(rule) => {
                    let back = node.place + 1;
                    // A rule at the end of an alternative needs no way back: repetitions do not pile up.
                    let last = self.rules.symbols[back as usize] == Symbol::End;
                    let below = if last { node.below } else { self.node(Node { place: back, below: node.below }) };
                    let rules = Arc::clone(&self.rules);
                    rules.alternatives(rule).iter().for_each(|start| visit(Node { place: *start, below }));
                }
            }
        }
        stacks.sort_unstable();
        stacks.dedup();
        stacks
    }

    fn node(&mut self, node: Node) -> u32 {
        let next = self.nodes.len() as u32;
        let id = *self.node_ids.entry(node).or_insert(next);
        if id == next {
            self.nodes.push(node);
            self.within.push(id);
            // What is below was found before, so this calls itself once at most.
            let below = self.within.get(node.below as usize).copied().unwrap_or(node.below);
            let within = Node { place: self.rules.within(node.place, self.reach), below };
            if within != node {
                self.within[id as usize] = self.node(within);
            }
        }
        id
    }

    fn state(&mut self, stacks: Vec<u32>) -> Result<State> {
        if let Some(known) = self.state_ids.get(&stacks) {
            return Ok(*known);
        }
        if self.states.len() >= MAX_STATES {
            return Err(Error::new(ErrorKind::LimitExceeded, "the grammar has too many states for this reply"));
        }
        let state = self.states.len() as State;
        self.next.push([if state == DEAD { DEAD } else { UNKNOWN }; 256]);
        self.state_ids.insert(stacks.clone(), state);
        self.states.push(stacks);
        Ok(state)
    }
}
