//! Shapes of the commands: their words and arguments.
//!
//! A shape is a list of words. An upper-case word stands for itself, a lower-case letter for a random argument of a
//! kind. `*` before a group (joined by commas) repeats it. `?` before a word makes it an option, whose own argument
//! follows a colon. Options are at the end, or where a `?` stands alone. They are drawn and shuffled; sometimes one
//! occurs twice.
//!
//! | letter | argument |
//! |---|---|
//! | `k` | key; all keys of a test share one hash slot |
//! | `v` | value |
//! | `h`, `b` | key of a hash, mostly; field of a hash |
//! | `q`, `j`, `g` | key of a sorted set, mostly; member of a sorted set; score |
//! | `u`, `E` | limit of a range of scores; limit of a range of names |
//! | `r` | how many random fields |
//! | `i`, `n` | integer; small count |
//! | `f` | floating point number |
//! | `t`, `m` | span of time in s, in ms: long ago or far in the future |
//! | `s`, `a` | point in time in s, in ms: likewise |
//! | `o` | offset into a value |
//! | `d` | database |
//! | `p` | glob pattern |
//! | `y` | name of a type |
//! | `c` | cursor |
//! | `z`, `l` | cursor of CLUSTERSCAN; hash slot |
//! | `e` | order of slots |
//! | `w` | any word |
//! | `#` | how many groups follow |
//! | `A` | how scores are joined |
//! | `L` | key of a sorted set whose scores are all 0, so that ranges of names are specified |
//! | `M`, `N` | about as many scores and members as fit into a small sorted set; the same, of score 0 |
//! | `x` | a whole other command |

/// A random argument is generated for each lower-case letter; see the module's documentation.
pub const SHAPES: &[&str] = &[
    // string
    "APPEND k v",
    "DECR k",
    "DECRBY k i",
    "DELIFEQ k v",
    "GET k",
    "GETDEL k",
    "GETEX k ?EX:t ?PX:m ?EXAT:s ?PXAT:a ?PERSIST",
    "GETRANGE k o o",
    "GETSET k v",
    "INCR k",
    "INCRBY k i",
    "INCRBYFLOAT k f",
    "LCS k k ?LEN ?IDX ?MINMATCHLEN:i ?WITHMATCHLEN",
    "MGET *k",
    "MSET *k,v",
    "MSETEX # *k,v ?NX ?XX ?EX:t ?PX:m ?EXAT:s ?PXAT:a ?KEEPTTL",
    "MSETNX *k,v",
    "PSETEX k m v",
    "SET k v",
    "SET k v ?NX ?XX ?IFEQ:v ?GET ?EX:t ?PX:m ?EXAT:s ?PXAT:a ?KEEPTTL",
    "SETEX k t v",
    "SETNX k v",
    "SETRANGE k o v",
    "STRLEN k",
    "SUBSTR k o o",
    // hash
    "HDEL h *b",
    "HEXISTS h b",
    "HEXPIRE h t ?NX ?XX ?GT ?LT ? FIELDS # *b",
    "HEXPIREAT h s ?NX ?XX ?GT ?LT ? FIELDS # *b",
    "HEXPIRETIME h FIELDS # *b",
    "HGET h b",
    "HGETALL h",
    "HGETDEL h FIELDS # *b",
    "HGETEX h ?EX:t ?PX:m ?EXAT:s ?PXAT:a ?PERSIST ? FIELDS # *b",
    "HINCRBY h b i",
    "HINCRBYFLOAT h b f",
    "HKEYS h",
    "HLEN h",
    "HMGET h *b",
    "HMSET h *b,v",
    "HPERSIST h FIELDS # *b",
    "HPEXPIRE h m ?NX ?XX ?GT ?LT ? FIELDS # *b",
    "HPEXPIREAT h a ?NX ?XX ?GT ?LT ? FIELDS # *b",
    "HPEXPIRETIME h FIELDS # *b",
    "HPTTL h FIELDS # *b",
    "HRANDFIELD h",
    "HRANDFIELD h r ?WITHVALUES",
    "HSCAN h c ?MATCH:p ?COUNT:n ?NOVALUES ?NOSCORES ?TYPE:y",
    "HSET h *b,v",
    "HSET h *b,i",
    "HSETEX h ?NX ?XX ?FNX ?FXX ?EX:t ?PX:m ?EXAT:s ?PXAT:a ?KEEPTTL ? FIELDS # *b,v",
    "HSETNX h b v",
    "HSTRLEN h b",
    "HTTL h FIELDS # *b",
    "HVALS h",
    // sorted set
    "ZADD q *g,j",
    "ZADD q *g,j",
    "ZADD q ?NX ?XX ?GT ?LT ?CH ? *g,j",
    "ZADD q ?NX ?XX ?GT ?LT ? INCR g j",
    "ZADD q M",
    "ZCARD q",
    "ZCOUNT q u u",
    "ZDIFF # *q ?WITHSCORES",
    "ZDIFFSTORE q # *q",
    "ZINCRBY q g j",
    "ZINTER # *q ?WITHSCORES ?AGGREGATE:A",
    "ZINTER 2 q q WEIGHTS g g ?AGGREGATE:A",
    "ZINTERCARD # *q ?LIMIT:n",
    "ZINTERSTORE q # *q ?AGGREGATE:A",
    "ZLEXCOUNT L E E",
    "ZMPOP # *q MIN ?COUNT:n",
    "ZMPOP # *q MAX ?COUNT:n",
    "ZMSCORE q *j",
    "ZPOPMAX q",
    "ZPOPMAX q n",
    "ZPOPMIN q",
    "ZPOPMIN q n",
    "ZRANDMEMBER q",
    "ZRANDMEMBER q r ?WITHSCORES",
    "ZRANGE q o o ?REV ?WITHSCORES ?BYSCORE ?BYLEX",
    "ZRANGE q u u BYSCORE ?REV ?WITHSCORES",
    "ZRANGE q u u BYSCORE ?REV ?WITHSCORES ? LIMIT o o",
    "ZRANGE L E E BYLEX ?REV",
    "ZRANGEBYLEX L E E",
    "ZRANGEBYLEX L E E LIMIT o o",
    "ZRANGEBYSCORE q u u ?WITHSCORES",
    "ZRANGEBYSCORE q u u LIMIT o o ?WITHSCORES",
    "ZRANGESTORE q q o o ?REV",
    "ZRANGESTORE q q u u BYSCORE ?REV",
    "ZRANGESTORE L L E E BYLEX LIMIT o o",
    "ZRANK q j ?WITHSCORE",
    "ZREM q *j",
    "ZREMRANGEBYLEX L E E",
    "ZREMRANGEBYRANK q o o",
    "ZREMRANGEBYSCORE q u u",
    "ZREVRANGE q o o ?WITHSCORES",
    "ZREVRANGEBYLEX L E E",
    "ZREVRANGEBYSCORE q u u ?WITHSCORES",
    "ZREVRANK q j ?WITHSCORE",
    "ZSCAN q c ?MATCH:p ?COUNT:n ?NOVALUES ?NOSCORES ?TYPE:y",
    "ZSCORE q j",
    "ZUNION # *q ?WITHSCORES ?AGGREGATE:A",
    "ZUNION 2 q q WEIGHTS g g ?WITHSCORES",
    "ZUNIONSTORE q # *q ?AGGREGATE:A",
    "ZADD L 0 j 0 j",
    "ZADD L N",
    // generic
    "COPY k k ?REPLACE ?DB:d",
    "DEL *k",
    "DUMP k",
    "EXISTS *k",
    "EXPIRE k t ?NX ?XX ?GT ?LT",
    "EXPIREAT k s ?NX ?XX ?GT ?LT",
    "EXPIRETIME k",
    "KEYS p",
    "MOVE k d",
    "OBJECT ENCODING k",
    "OBJECT FREQ k",
    "OBJECT HELP",
    "OBJECT IDLETIME k",
    "OBJECT REFCOUNT k",
    "OBJECT w k",
    "PERSIST k",
    "PEXPIRE k m ?NX ?XX ?GT ?LT",
    "PEXPIREAT k a ?NX ?XX ?GT ?LT",
    "PEXPIRETIME k",
    "PTTL k",
    "RANDOMKEY",
    "RENAME k k",
    "RENAMENX k k",
    "RESTORE k m v ?REPLACE ?ABSTTL ?IDLETIME:i ?FREQ:i",
    "SCAN c ?MATCH:p ?COUNT:n ?TYPE:y",
    "TOUCH *k",
    "TTL k",
    "TYPE k",
    "UNLINK *k",
    // connection
    "ECHO v",
    "PING",
    "PING v",
    "SELECT d",
    // cluster
    "CLUSTER COUNTKEYSINSLOT l",
    "CLUSTER GETKEYSINSLOT l n",
    "CLUSTER KEYSLOT v",
    "CLUSTER SLOT-STATS ORDERBY e ?LIMIT:l ?ASC ?DESC",
    "CLUSTER SLOT-STATS SLOTSRANGE l l",
    "CLUSTER w l",
    "CLUSTERSCAN z ?MATCH:p ?COUNT:n ?TYPE:y ?SLOT:l",
    // server
    "ACL CAT",
    "ACL CAT w",
    "COMMAND",
    "COMMAND COUNT",
    "COMMAND DOCS w",
    "COMMAND GETKEYS x",
    "COMMAND GETKEYSANDFLAGS x",
    "COMMAND HELP",
    "COMMAND INFO w",
    "COMMAND LIST ?FILTERBY:w",
    "DBSIZE",
    "FLUSHALL ?ASYNC ?SYNC ?FOO",
    "FLUSHDB ?ASYNC ?SYNC ?FOO",
    "LOLWUT",
    "MEMORY DOCTOR",
    "MEMORY HELP",
    "MEMORY USAGE k ?SAMPLES:i",
    "TIME",
    // no commands
    "NOSUCH *v",
    "GET|SET k",
];

/// Shapes that are drawn one time in fifty: they leave no data to compare, or have a long reply.
#[must_use]
pub fn is_rare(shape: &str) -> bool {
    shape.starts_with("FLUSH") || shape == "COMMAND"
}
