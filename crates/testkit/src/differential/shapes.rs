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
//! | `q`, `g` | key of a set, mostly; member of a set |
//! | `j`, `u` | many members of a set, around the sizes at which its encoding changes; how many random ones |
//! | `r` | how many random fields |
//! | `lk`, `le` | key of a list, mostly; element of a list |
//! | `lp`, `lend` | position in a list; end of a list |
//! | `many` | hundreds of elements |
//! | `zk`, `zm`, `zs` | key of a sorted set, mostly; member of a sorted set; score |
//! | `zl` | key of a sorted set whose scores are all 0, so that ranges of names are specified |
//! | `zu`, `ze` | limit of a range of scores; limit of a range of names |
//! | `za` | how scores are joined |
//! | `zmany`, `zsame` | about as many scores and members as fit into a small sorted set; the same, of score 0 |
//! | `i`, `n` | integer; small count |
//! | `bt` | time-out of a command that may wait: short |
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
    // set
    "SADD q *g",
    "SADD q *g",
    "SADD q j",
    "SCARD q",
    "SDIFF *q",
    "SDIFFSTORE q *q",
    "SINTER *q",
    "SINTERCARD # *q ?LIMIT:n",
    "SINTERSTORE q *q",
    "SISMEMBER q g",
    "SMEMBERS q",
    "SMISMEMBER q *g",
    "SMOVE q q g",
    "SPOP q",
    "SPOP q u",
    "SRANDMEMBER q",
    "SRANDMEMBER q r",
    "SREM q *g",
    "SREM q j",
    "SSCAN q c ?MATCH:p ?COUNT:n ?NOVALUES ?NOSCORES ?TYPE:y",
    "SUNION *q",
    "SUNIONSTORE q *q",
    // list
    "BLMOVE lk lk lend lend bt",
    "BLMPOP bt # *lk lend ?COUNT:n",
    "BLPOP *lk bt",
    "BRPOP *lk bt",
    "BRPOPLPUSH lk lk bt",
    "LINDEX lk lp",
    "LINSERT lk BEFORE le le",
    "LINSERT lk AFTER le le",
    "LLEN lk",
    "LMOVE lk lk LEFT RIGHT",
    "LMOVE lk lk lend lend",
    "LMPOP # *lk lend ?COUNT:n",
    "LPOP lk",
    "LPOP lk n",
    "LPOS lk le ?RANK:lp ?COUNT:n ?MAXLEN:n",
    "LPUSH lk *le",
    "LPUSH lk many",
    "LPUSHX lk *le",
    "LRANGE lk lp lp",
    "LREM lk lp le",
    "LSET lk lp le",
    "LTRIM lk lp lp",
    "OBJECT ENCODING lk",
    "RPOP lk",
    "RPOP lk n",
    "RPOPLPUSH lk lk",
    "RPUSH lk *le",
    "RPUSH lk many",
    "RPUSHX lk *le",
    // sorted set
    "BZMPOP bt # *zk MIN ?COUNT:n",
    "BZPOPMAX *zk bt",
    "BZPOPMIN *zk bt",
    "ZADD zk *zs,zm",
    "ZADD zk *zs,zm",
    "ZADD zk ?NX ?XX ?GT ?LT ?CH ? *zs,zm",
    "ZADD zk ?NX ?XX ?GT ?LT ? INCR zs zm",
    "ZADD zk zmany",
    "ZCARD zk",
    "ZCOUNT zk zu zu",
    "ZDIFF # *zk ?WITHSCORES",
    "ZDIFFSTORE zk # *zk",
    "ZINCRBY zk zs zm",
    "ZINTER # *zk ?WITHSCORES ?AGGREGATE:za",
    "ZINTER 2 zk zk WEIGHTS zs zs ?AGGREGATE:za",
    "ZINTERCARD # *zk ?LIMIT:n",
    "ZINTERSTORE zk # *zk ?AGGREGATE:za",
    "ZLEXCOUNT zl ze ze",
    "ZMPOP # *zk MIN ?COUNT:n",
    "ZMPOP # *zk MAX ?COUNT:n",
    "ZMSCORE zk *zm",
    "ZPOPMAX zk",
    "ZPOPMAX zk n",
    "ZPOPMIN zk",
    "ZPOPMIN zk n",
    "ZRANDMEMBER zk",
    "ZRANDMEMBER zk r ?WITHSCORES",
    "ZRANGE zk o o ?REV ?WITHSCORES ?BYSCORE ?BYLEX",
    "ZRANGE zk zu zu BYSCORE ?REV ?WITHSCORES",
    "ZRANGE zk zu zu BYSCORE ?REV ?WITHSCORES ? LIMIT o o",
    "ZRANGE zl ze ze BYLEX ?REV",
    "ZRANGEBYLEX zl ze ze",
    "ZRANGEBYLEX zl ze ze LIMIT o o",
    "ZRANGEBYSCORE zk zu zu ?WITHSCORES",
    "ZRANGEBYSCORE zk zu zu LIMIT o o ?WITHSCORES",
    "ZRANGESTORE zk zk o o ?REV",
    "ZRANGESTORE zk zk zu zu BYSCORE ?REV",
    "ZRANGESTORE zl zl ze ze BYLEX LIMIT o o",
    "ZRANK zk zm ?WITHSCORE",
    "ZREM zk *zm",
    "ZREMRANGEBYLEX zl ze ze",
    "ZREMRANGEBYRANK zk o o",
    "ZREMRANGEBYSCORE zk zu zu",
    "ZREVRANGE zk o o ?WITHSCORES",
    "ZREVRANGEBYLEX zl ze ze",
    "ZREVRANGEBYSCORE zk zu zu ?WITHSCORES",
    "ZREVRANK zk zm ?WITHSCORE",
    "ZSCAN zk c ?MATCH:p ?COUNT:n ?NOVALUES ?NOSCORES ?TYPE:y",
    "ZSCORE zk zm",
    "ZUNION # *zk ?WITHSCORES ?AGGREGATE:za",
    "ZUNION 2 zk zk WEIGHTS zs zs ?WITHSCORES",
    "ZUNIONSTORE zk # *zk ?AGGREGATE:za",
    "ZUNIONSTORE zk 2 zk q ?AGGREGATE:za",
    "ZINTER 2 q zk ?WITHSCORES",
    "ZDIFF 2 q zk ?WITHSCORES",
    "ZADD zl 0 zm 0 zm",
    "ZADD zl zsame",
    // generic
    "COPY k k ?REPLACE ?DB:d",
    "COPY q q ?REPLACE",
    "COPY zk zk ?REPLACE",
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
