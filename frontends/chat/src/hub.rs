//! The conversations, and the pages that look at them.
//!
//! What happens to a session becomes a change of the view, with a number. A page hears a snapshot
//! first and then every change after it; one that lags behind is told so and begins anew. Nobody
//! waits for a page.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use burdock_tokio::update::UpdateKind;
use burdock_tokio::{Code, ConnectError, Endpoint, Link, LinkError, Message, SendError, Session, Update, Updates};
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::task::JoinSet;
use tracing::debug;

use crate::door::Door;
use crate::room::{Order, Room};
use crate::view::{Delivery, End, Me, News, View, Who};

/// All of a chat's text goes over this channel, as that of `burdock connect` does.
const CHANNEL: u8 = 0;
/// The longest message, in bytes.
pub(crate) const MAX_TEXT: usize = 16 * 1024;
/// Conversations, in all. One that has ended makes room for a new one.
const MAX_ROOMS: usize = 64;
/// What a peer is told when all of them are open.
const TURNED_AWAY: &str = "this chat is full; try again later";
/// Changes that a page may lag behind.
const BACKLOG: usize = 256;

/// A change of the view, or a snapshot of it, as it goes to pages.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) seq: u64,
    pub(crate) name: &'static str,
    pub(crate) data: String,
}

/// What a page may ask to be done with a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    RetryNow,
    Cancel,
    Close,
    TryAgain,
    Dismiss,
}

/// Why something that was asked for was not done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Refused {
    /// The link is malformed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The link cannot be dialled.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The message was not queued.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Nothing to send.
    #[error("the message is empty; write something")]
    Empty,
    /// The conversation is not, or no longer, there.
    #[error("there is no such conversation; it was taken off the screen")]
    Unknown,
    /// Its session has ended, or is ending.
    #[error("the conversation has ended; connect again first")]
    Over,
    /// Its session has not ended.
    #[error("the conversation goes on; close it first")]
    Open,
    /// The peer dialled us, and nobody told how to dial it.
    #[error("this peer's link is not known; ask them for it, or for them to connect")]
    NoLink,
    /// The bound on conversations is reached.
    #[error("there are {MAX_ROOMS} open conversations, which is the most; close one first")]
    Full,
}

/// What goes to pages, by number.
struct Wire {
    seq: u64,
    /// Gone once the chat has ended.
    news: Option<broadcast::Sender<Arc<Event>>>,
}

impl Wire {
    fn publish(&mut self, news: &News<'_>) {
        self.seq += 1;
        if let Some(pages) = &self.news {
            // That nobody looks is no error.
            let _ = pages.send(Arc::new(Event { seq: self.seq, name: news.name(), data: json(news) }));
        }
    }

    fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        match &self.news {
            Some(pages) => pages.subscribe(),
            None => broadcast::channel(1).1,
        }
    }
}

struct State {
    wire: Wire,
    door: Door,
    me: Me,
    rooms: BTreeMap<u64, Room>,
    next_room: u64,
    next_entry: u64,
    tasks: JoinSet<()>,
}

/// One session of a conversation: what comes from an earlier one says nothing about a later one.
#[derive(Clone, Copy)]
struct Run {
    room: u64,
    no: u64,
}

impl State {
    /// Lets go of the tasks that have ended, and counts the others.
    fn running(&mut self) -> usize {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.len()
    }

    fn room(&mut self, run: Run) -> Option<&mut Room> {
        self.rooms.get_mut(&run.room).filter(|room| room.runs(run.no))
    }
}

pub(crate) struct Hub {
    endpoint: Endpoint,
    router_needed: Notify,
    state: Mutex<State>,
}

impl Hub {
    pub(crate) fn new(endpoint: Endpoint, door: Door) -> Arc<Self> {
        endpoint.set_accept(door.policy());
        let me = door.me();
        let wire = Wire { seq: 0, news: Some(broadcast::Sender::new(BACKLOG)) };
        let state =
            State { wire, door, me, rooms: BTreeMap::new(), next_room: 1, next_entry: 1, tasks: JoinSet::new() };
        Arc::new(Self { endpoint, router_needed: Notify::new(), state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done that a panic could reveal.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in one peer after the other, until the endpoint is shut down.
    pub(crate) async fn welcome(self: Arc<Self>) {
        while let Some((session, updates)) = self.endpoint.accept().await {
            let state = &mut *self.lock();
            match self.room_for(state, &session) {
                Ok(room) => self.begin(state, room, session, updates, None),
                Err(refused) => {
                    debug!(%refused, "a peer was turned away");
                    // Of a crowd some are dropped without a word.
                    if state.running() < 2 * MAX_ROOMS {
                        state.tasks.spawn(Arc::clone(&self).turn_away(session, updates));
                    }
                }
            }
        }
    }

    /// Ends all tasks, sessions and streams to pages at once.
    pub(crate) fn stop(&self) {
        let state = &mut *self.lock();
        state.tasks.abort_all();
        state.rooms.clear();
        state.wire.news = None;
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn set_link(&self, link: Link) {
        let state = &mut *self.lock();
        state.door.set_link(link);
        self.tell_me(state);
    }

    pub(crate) fn set_router(&self, words: String) {
        let state = &mut *self.lock();
        state.door.set_router(words);
        self.tell_me(state);
    }

    pub(crate) async fn router_needed(&self) {
        self.router_needed.notified().await;
    }

    /// A snapshot, and everything after it.
    pub(crate) fn listen(&self) -> (Event, broadcast::Receiver<Arc<Event>>) {
        let mut state = self.lock();
        state.rooms.values_mut().for_each(Room::refresh);
        let conversations = state.rooms.values().map(Room::whole).collect();
        let view = View { seq: state.wire.seq, me: state.me.clone(), conversations };
        (Event { seq: view.seq, name: "snapshot", data: json(&view) }, state.wire.listen())
    }

    /// Dials a link. Returns the conversation, that which there is already with this peer too.
    pub(crate) fn connect(self: &Arc<Self>, link: &str) -> Result<u64, Refused> {
        let link: Link = link.parse()?;
        // It would be refused when it is used, and the link before would be gone.
        if self.endpoint.local_addr().is_none() && link.host.is_some() {
            return Err(ConnectError::Direct.into());
        }
        let mut state = self.lock();
        let same = |room: &&mut Room| room.peer == link.key;
        if let Some(room) = state.rooms.values_mut().find(same).filter(|room| !room.is_over()) {
            // The newest link is the one to use next time.
            room.link = Some(link);
            return Ok(room.id);
        }
        let (session, updates) = self.dial(&link)?;
        let room = self.room_for(&mut state, &session)?;
        self.begin(&mut state, room, session, updates, Some(link));
        Ok(room)
    }

    pub(crate) fn send(&self, conversation: u64, text: &str) -> Result<(), Refused> {
        if text.trim().is_empty() {
            return Err(Refused::Empty);
        }
        if text.len() > MAX_TEXT {
            return Err(SendError::TooLarge { len: text.len(), max: MAX_TEXT }.into());
        }
        let state = &mut *self.lock();
        let room = state.rooms.get_mut(&conversation).ok_or(Refused::Unknown)?;
        let message = room.session().ok_or(Refused::Over)?.try_send(CHANNEL, text.to_owned())?;
        let entry = self.add(state, conversation, Who::Me, text.to_owned());
        if let Some(room) = state.rooms.get_mut(&conversation) {
            room.await_outcome(message, entry);
        }
        Ok(())
    }

    pub(crate) fn act(self: &Arc<Self>, conversation: u64, act: Act) -> Result<(), Refused> {
        let state = &mut *self.lock();
        let room = state.rooms.get_mut(&conversation).ok_or(Refused::Unknown)?;
        match act {
            Act::RetryNow => {
                room.session().ok_or(Refused::Over)?.retry_now();
                if room.link.as_ref().is_some_and(needs_router) {
                    self.router_needed.notify_one();
                }
            }
            Act::Cancel | Act::Close => {
                let line = room.line.as_ref().ok_or(Refused::Over)?;
                // It is on its way when there is no room for another.
                let _ = line.orders.try_send(Order::End);
            }
            Act::TryAgain => {
                if !room.is_over() {
                    return Err(Refused::Open);
                }
                let link = room.link.clone().ok_or(Refused::NoLink)?;
                let (session, updates) = self.dial(&link)?;
                self.begin(state, conversation, session, updates, Some(link));
            }
            Act::Dismiss => {
                if !room.is_over() {
                    return Err(Refused::Open);
                }
                state.rooms.remove(&conversation);
                state.wire.publish(&News::Removed { conversation });
            }
        }
        Ok(())
    }

    fn dial(&self, link: &Link) -> Result<(Session, Updates), ConnectError> {
        let dialled = self.endpoint.connect(link)?;
        if needs_router(link) {
            self.router_needed.notify_one();
        }
        Ok(dialled)
    }

    /// The conversation that there is with the session's peer, or a new one.
    fn room_for(&self, state: &mut State, session: &Session) -> Result<u64, Refused> {
        let peer = session.peer();
        if let Some(room) = state.rooms.values().find(|room| room.peer == peer) {
            return Ok(room.id);
        }
        self.make_room(state)?;
        let id = state.next_room;
        state.next_room += 1;
        state.rooms.insert(id, Room::new(id, &self.endpoint.public_key(), session));
        Ok(id)
    }

    /// A session begins in a conversation.
    fn begin(self: &Arc<Self>, state: &mut State, id: u64, session: Session, updates: Updates, link: Option<Link>) {
        // The task of the session before may not have come to its end yet.
        self.over(state, id);
        let Some(room) = state.rooms.get_mut(&id) else { return };
        let session = Arc::new(session);
        let (orders, taken) = mpsc::channel(1);
        room.link = link.or(room.link.take());
        let run = Run { room: id, no: room.begin(Arc::clone(&session), orders) };
        state.wire.publish(&News::Conversation(&room.head()));
        state.running();
        state.tasks.spawn(Arc::clone(self).attend(run, session, updates, taken));
    }

    /// Tells a peer that there is no room for it, and hears whether it used the link that is shown: then that is its own,
    /// to come again with, and others need a fresh one.
    async fn turn_away(self: Arc<Self>, session: Session, mut updates: Updates) {
        let nowhere = Run { room: 0, no: 0 };
        let following = async {
            while let Some(update) = updates.next().await {
                self.on_update(nowhere, &update);
            }
        };
        tokio::join!(session.close(TURNED_AWAY), following);
    }

    fn make_room(&self, state: &mut State) -> Result<(), Refused> {
        if state.rooms.len() < MAX_ROOMS {
            return Ok(());
        }
        let oldest = state.rooms.values().find(|room| room.is_over()).map(|room| room.id).ok_or(Refused::Full)?;
        state.rooms.remove(&oldest);
        state.wire.publish(&News::Removed { conversation: oldest });
        Ok(())
    }

    /// Follows one session to its end.
    async fn attend(
        self: Arc<Self>,
        run: Run,
        session: Arc<Session>,
        mut updates: Updates,
        mut orders: mpsc::Receiver<Order>,
    ) {
        loop {
            tokio::select! {
                update = updates.next() => match update {
                    Some(update) => self.on_update(run, &update),
                    // What had arrived by then is still to be shown.
                    None => {
                        while let Ok(message) = session.recv().await {
                            self.on_message(run, &message);
                        }
                        break;
                    }
                },
                // Asking for the next message says that the one before is in the view.
                message = session.recv() => match message {
                    Ok(message) => self.on_message(run, &message),
                    Err(_) => {
                        while let Some(update) = updates.next().await {
                            self.on_update(run, &update);
                        }
                        break;
                    }
                },
                Some(Order::End) = orders.recv() => {
                    self.closing(run);
                    // The view has let go of it, so it is ours alone.
                    if let Some(session) = Arc::into_inner(session) {
                        self.end(run, session, updates, orders).await;
                    }
                    break;
                }
            }
        }
        let state = &mut *self.lock();
        if state.room(run).is_some() {
            self.over(state, run.room);
        }
    }

    /// Closes a session; a further order ends that at once, by dropping it.
    async fn end(&self, run: Run, session: Session, mut updates: Updates, mut orders: mpsc::Receiver<Order>) {
        let closing = session.close("");
        let following = async {
            while let Some(update) = updates.next().await {
                self.on_update(run, &update);
            }
        };
        tokio::select! {
            _ = async { tokio::join!(closing, following) } => {}
            Some(Order::End) = orders.recv() => {}
        }
    }

    fn on_message(&self, run: Run, message: &Message) {
        if message.channel == CHANNEL {
            let text = String::from_utf8_lossy(&message.data).into_owned();
            self.add(&mut self.lock(), run.room, Who::Peer, text);
        }
    }

    fn on_update(&self, run: Run, update: &Update) {
        let state = &mut *self.lock();
        let id = run.room;
        // An invite is used up whatever becomes of the session.
        if let UpdateKind::InviteBound { invite } = &update.kind {
            if state.door.used(invite) {
                self.endpoint.set_accept(state.door.policy());
                self.tell_me(state);
            }
            return;
        }
        let Some(room) = state.room(run) else { return };
        match &update.kind {
            UpdateKind::Progress(progress) => {
                state.wire.publish(&News::ConnectionProgress { conversation: id, progress });
            }
            UpdateKind::Connected { transport, inbound, .. } => {
                let text = if *inbound {
                    format!("The peer connected over {transport}.")
                } else {
                    format!("Connected over {transport}.")
                };
                self.note(state, id, text);
            }
            UpdateKind::Outcome { message, outcome } => {
                if let Some(entry) = room.settle(*message, Delivery::from(*outcome)) {
                    let news = room.news(&entry);
                    state.wire.publish(&news);
                }
                // While it is ending, what is still to be delivered is shown.
                if state.room(run).is_none_or(|room| room.session().is_some()) {
                    return;
                }
            }
            // Each of these says nothing about what is shown.
            UpdateKind::Message | UpdateKind::Writable => return,
            UpdateKind::PathChanged { from, to, code } => {
                self.note(state, id, format!("Moved from {from} to {to}. {}.", code.text()));
            }
            UpdateKind::Lost { code } => self.note(state, id, format!("{}.", code.text())),
            UpdateKind::Resumed { transport, after_ms } => {
                self.note(state, id, format!("Back over {transport} after {}; nothing was lost.", seconds(*after_ms)));
            }
            UpdateKind::PeerRestarted => {
                self.note(state, id, "The peer restarted; what it had not read by then may be lost.".to_owned());
            }
            UpdateKind::IdentityInUse { message, hint } => self.note(state, id, format!("{message}. {hint}")),
            UpdateKind::Closed { code, by_peer, reason, .. } => {
                // It is shown when the task has let go of the session, so that another can begin.
                return room.ended(*code, End { by_peer: *by_peer, reason: reason.clone() });
            }
            // Quality, and what is new: the status has it.
            _ => {}
        }
        self.refresh(state, id);
    }

    /// The session is gone, however it went.
    fn over(&self, state: &mut State, id: u64) {
        let Some(room) = state.rooms.get_mut(&id).filter(|room| !room.is_over()) else { return };
        for entry in room.over() {
            if let Some(entry) = room.mark(entry, Delivery::Unknown) {
                state.wire.publish(&room.news(&entry));
            }
        }
        let head = room.head();
        let (said, code) = (head.end.as_ref(), head.status.code.unwrap_or(Code::Done));
        let text = match said {
            Some(End { by_peer: true, reason }) => {
                let text = if code == Code::Done { "The peer closed the session" } else { &head.reading.text };
                // Its own words, told from ours.
                if reason.is_empty() { format!("{text}.") } else { format!("{text}: “{reason}”") }
            }
            _ => format!("{}.", head.reading.text),
        };
        state.wire.publish(&News::Conversation(&head));
        self.note(state, id, text);
    }

    fn closing(&self, run: Run) {
        let state = &mut *self.lock();
        if let Some(room) = state.room(run) {
            room.closing();
            let head = room.head();
            state.wire.publish(&News::Conversation(&head));
        }
    }

    fn refresh(&self, state: &mut State, id: u64) {
        if let Some(room) = state.rooms.get_mut(&id) {
            room.refresh();
            state.wire.publish(&News::Conversation(&room.head()));
        }
    }

    fn note(&self, state: &mut State, id: u64, text: String) {
        self.add(state, id, Who::Note, text);
    }

    /// Adds a line to a conversation and returns its number.
    fn add(&self, state: &mut State, id: u64, from: Who, text: String) -> u64 {
        let number = state.next_entry;
        state.next_entry += 1;
        if let Some(room) = state.rooms.get_mut(&id) {
            let entry = room.add(number, from, text, now_ms());
            state.wire.publish(&room.news(&entry));
        }
        number
    }

    fn tell_me(&self, state: &mut State) {
        state.me = state.door.me();
        state.wire.publish(&News::Me(&state.me));
    }
}

/// Whether only I2P reaches a peer. One with another way as well is no reason to join a network.
fn needs_router(link: &Link) -> bool {
    link.host.is_none() || (link.udp_port.is_none() && link.tcp_port.is_none())
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("the view has string keys alone")
}

/// To a tenth.
fn seconds(millis: u64) -> String {
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use burdock_tokio::update::State as Stage;
    use burdock_tokio::{AcceptPolicy, Config, I2p, Identity};
    use futures_util::FutureExt;

    use super::*;

    async fn endpoint(n: u8, config: Config) -> Endpoint {
        Endpoint::bind("127.0.0.1:0".parse().unwrap(), config, Identity::from_bytes([n; 32])).await.unwrap()
    }

    fn link_to(endpoint: &Endpoint) -> Link {
        Link::direct(endpoint.public_key(), endpoint.local_addr().expect("it listens"))
    }

    // Mutation: ending `attend` at the last update, without the messages that are left, makes this fail.
    #[tokio::test]
    async fn what_had_arrived_when_the_session_ended_is_shown() {
        let host = endpoint(1, crate::config()).await;
        let hub = Hub::new(host.clone(), Door::new(AcceptPolicy::anyone(), link_to(&host), "Anyone."));
        let guest = endpoint(2, Config { close_deadline: Duration::from_millis(300), ..crate::config() }).await;
        let (talk, _) = guest.connect(&link_to(&host)).unwrap();
        for _ in 0..100 {
            talk.try_send(CHANNEL, "x").unwrap();
        }
        let (session, updates) = host.accept().await.unwrap();
        assert_eq!(talk.close("").await.code, Code::CloseTimeout);
        while session.status().state != Stage::Closed {
            tokio::task::yield_now().await;
        }
        let room = hub.room_for(&mut hub.lock(), &session).unwrap();
        hub.begin(&mut hub.lock(), room, session, updates, None);
        while !hub.lock().rooms[&room].is_over() {
            tokio::task::yield_now().await;
        }
        let shown = hub.lock().rooms[&room].whole().entries.iter().filter(|entry| entry.from == Who::Peer).count();
        assert_eq!(shown, 100);
        hub.stop();
    }

    // Mutation: leaving out the look at the host in `connect` makes this fail.
    #[tokio::test]
    async fn t4_an_anonymous_chat_keeps_no_link_with_a_direct_address() {
        let i2p = Some(I2p { bridge: "127.0.0.1:9".parse().unwrap(), ..I2p::default() });
        let config = Config { i2p, ..crate::config() };
        let endpoint = Endpoint::anonymous(config, Identity::from_bytes([1; 32]), None).await.unwrap();
        let key = Identity::from_bytes([2; 32]).public_key();
        let destination = format!("{}.b32.i2p", "a".repeat(52)).parse().ok();
        let hidden = Link { key, host: None, udp_port: None, tcp_port: None, i2p: destination, invite: None };
        let door = Door::new(AcceptPolicy::nobody(), Link { i2p: None, ..hidden.clone() }, "Nobody.");
        let hub = Hub::new(endpoint, door);
        let room = hub.connect(&hidden.to_string()).unwrap();
        let direct = Link::direct(key, "192.0.2.1:4000".parse().unwrap());
        assert!(matches!(hub.connect(&direct.to_string()), Err(Refused::Connect(ConnectError::Direct))));
        assert_eq!(hub.lock().rooms[&room].link.as_ref(), Some(&hidden));
        hub.stop();
    }

    // Mutation: `needs_router` that asks whether the link has a destination makes this fail.
    #[tokio::test]
    async fn a_router_is_needed_for_a_peer_that_only_i2p_reaches() {
        let i2p = Some(I2p { bridge: "127.0.0.1:9".parse().unwrap(), accept: false, ..I2p::default() });
        let endpoint = endpoint(1, Config { i2p, ..crate::config() }).await;
        let hub = Hub::new(endpoint.clone(), Door::new(AcceptPolicy::nobody(), link_to(&endpoint), "Nobody."));
        let needed = || hub.router_needed().now_or_never().is_some();
        let key = |n| Identity::from_bytes([n; 32]).public_key();
        let direct = Link::direct(key(2), "127.0.0.1:9".parse().unwrap());
        let both = Link { key: key(3), i2p: format!("{}.b32.i2p", "a".repeat(52)).parse().ok(), ..direct.clone() };
        let hidden = Link { key: key(4), host: None, udp_port: None, tcp_port: None, ..both.clone() };
        for (link, wants) in [(direct, false), (both, false), (hidden, true)] {
            let room = hub.connect(&link.to_string()).unwrap();
            assert_eq!(needed(), wants, "{link}");
            hub.act(room, Act::RetryNow).unwrap();
            assert_eq!(needed(), wants, "{link}");
        }
        hub.stop();
    }

    // Mutation: dropping the session in `welcome`, in the place of `turn_away`, makes this fail.
    #[tokio::test]
    async fn a_peer_for_whom_there_is_no_room_is_told_so_and_its_link_is_replaced() {
        let host = endpoint(1, crate::config()).await;
        let door = Door::new(AcceptPolicy::nobody(), link_to(&host), "One.").with_invites().unwrap();
        let hub = Hub::new(host, door);
        for n in 0..MAX_ROOMS {
            let key = Identity::from_bytes([100 + u8::try_from(n).unwrap(); 32]).public_key();
            hub.connect(&Link::direct(key, "127.0.0.1:9".parse().unwrap()).to_string()).unwrap();
        }
        let shown = hub.lock().me.link.clone();
        let welcoming = tokio::spawn(Arc::clone(&hub).welcome());
        let guest = endpoint(2, crate::config()).await;
        let (session, _) = guest.connect(&shown.parse().unwrap()).unwrap();
        let closed = session.recv().await.unwrap_err();
        assert_eq!((closed.by_peer, &*closed.reason), (true, TURNED_AWAY), "{closed:?}");
        while hub.lock().me.link == shown {
            tokio::task::yield_now().await;
        }

        // Once there is room it is let in by the link that it has.
        hub.act(1, Act::Cancel).unwrap();
        while !hub.lock().rooms[&1].is_over() {
            tokio::task::yield_now().await;
        }
        drop(session);
        let (session, _) = guest.connect(&shown.parse().unwrap()).unwrap();
        session.connected().await.unwrap();
        while hub.lock().rooms.contains_key(&1) {
            tokio::task::yield_now().await;
        }
        welcoming.abort();
        hub.stop();
    }

    // Mutation: seeing to `InviteBound` behind the look at the room makes this fail.
    #[tokio::test]
    async fn an_invite_is_used_up_whatever_has_become_of_the_session() {
        let host = endpoint(1, crate::config()).await;
        let door = Door::new(AcceptPolicy::nobody(), link_to(&host), "One.").with_invites().unwrap();
        let used = door.link().invite.clone().unwrap();
        let hub = Hub::new(host, door);
        let shown = hub.lock().me.link.clone();
        let update = Update { seq: 1, kind: UpdateKind::InviteBound { invite: used.id } };
        hub.on_update(Run { room: 1, no: 1 }, &update);
        assert_ne!(hub.lock().me.link, shown);
        hub.stop();
    }
}
