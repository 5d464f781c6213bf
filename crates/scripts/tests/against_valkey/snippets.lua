-- One script a line. Each is called with the keys k1 and k2 and the arguments a, b and 3, on an empty database.
return 1
return 1.99
return -1.99
return 0/0
return 1/0
return -1/0
return 1e300
return 2^53
return 9007199254740993
return "text"
return ""
return "a\r\nb"
return "a\0b"
return nil
return true
return false
return {}
return {1,2,3}
return {1,2,nil,4}
return {1,{2,{3,"x"}},{}}
return {true,false,1}
return {nil,1}
return {[1]=1,[2]=2,[4]=4}
return {a=1}
return {ok="fine"}
return {ok="fi\r\nne"}
return {ok=5}
return {err="ERR broken"}
return {err="broken"}
return {err="A\r\nB"}
return {err=5}
return {double=3.5}
return {double=1e300}
return {double=-0.0}
return {double=1/0}
return {double="3.5"}
return {big_number="12345678901234567890"}
return {big_number="1\r\n2"}
return {big_number=5}
return {verbatim_string={format="txt",string="hello"}}
return {verbatim_string={format="mkdown",string="hello"}}
return {verbatim_string={format="x",string="hello"}}
return {verbatim_string={format="txt"}}
return {map={a=1}}
return {map={a={map={b=2}}}}
return {map={}}
return {map={[1]=2}}
return {set={a=true}}
return {set={}}
return {map=5}
return {{ok="a"},{err="b"},{double=1.5},{map={x=1}},{set={y=true}}}
return print
return coroutine.create(function() end)
return cjson.null
return 1,2,3
return KEYS
return ARGV
return {KEYS[1],KEYS[2],KEYS[3],ARGV[1]}
return #KEYS
return #ARGV + ARGV[3]
redis.setresp(3) return true
redis.setresp(3) return false
redis.setresp(3) return {true,false}
redis.setresp(3) return {map={a=true}}
redis.setresp(3) return redis.call('hgetall','k1')
redis.call('hset','k1','f','v') redis.setresp(3) return redis.call('hgetall','k1')
redis.call('hset','k1','f','v') return redis.call('hgetall','k1')
redis.call('hset','k1','f','v') redis.setresp(3) return redis.call('hgetall','k1').map.f
redis.call('sadd','k1','m') redis.setresp(3) return redis.call('smembers','k1')
redis.call('sadd','k1','m') redis.setresp(3) return redis.call('smembers','k1').set.m
redis.call('zadd','k1',1.5,'m') redis.setresp(3) return redis.call('zscore','k1','m')
redis.call('zadd','k1',1.5,'m') redis.setresp(3) return redis.call('zscore','k1','m').double
redis.call('zadd','k1',1.5,'m') return redis.call('zscore','k1','m')
redis.call('zadd','k1',1.5,'m') return redis.call('zrange','k1',0,-1,'withscores')
redis.setresp(3) return type(redis.call('get','k1'))
return type(redis.call('get','k1'))
return redis.call('get','k1') == false
redis.setresp(3) return redis.call('get','k1') == nil
redis.setresp(3) redis.setresp(2) return type(redis.call('get','k1'))
return redis.call('set','k1','v')
return redis.call('set','k1','v').ok
redis.call('set','k1',ARGV[1]) return redis.call('get','k1')
redis.call('set','k1',3.3) return redis.call('get','k1')
redis.call('set','k1',10) return redis.call('incr','k1')
redis.call('set','k1',1e17) return redis.call('get','k1')
redis.call('set','k1',1e20) return redis.call('get','k1')
redis.call('set','k1',-0.0) return redis.call('get','k1')
redis.call('set','k1',1/3) return redis.call('get','k1')
redis.call('set','k1',1/0) return redis.call('get','k1')
redis.call('set','k1',-1/0) return redis.call('get','k1')
redis.call('set','k1',1e-7) return redis.call('get','k1')
redis.call('set','k1',4611686018427387904) return redis.call('get','k1')
redis.call('set','k1',4711686018427387904) return redis.call('get','k1')
redis.call('set','k1',123456789.125) return redis.call('get','k1')
redis.call('set','k1',"a\0b") return redis.call('get','k1')
redis.call('rpush','k1',1,2,3) return redis.call('lrange','k1',0,-1)
redis.call('rpush','k1',unpack({'a','b','c'})) return redis.call('llen','k1')
redis.call('rpush','k1','x') return redis.call('get','k1')
redis.call('rpush','k1','x') return redis.pcall('get','k1')
redis.call('rpush','k1','x') return redis.pcall('get','k1').err
redis.call('rpush','k1','x') return redis.pcall('get','k1').ignore_error_stats_update
redis.call('rpush','k1','x') return {pcall(redis.call,'get','k1')}
redis.call('rpush','k1','x') local ok, e = pcall(redis.call,'get','k1') return {ok, type(e), e}
redis.call('rpush','k1','x') local ok, e = xpcall(function() return redis.call('get','k1') end, function(e) return e end) return {ok, type(e), e.err}
redis.call('rpush','k1','x') local e = redis.pcall('get','k1') e.extra = 1 return e
redis.call('rpush','k1','x') error(redis.pcall('get','k1'))
return redis.call('nosuchcommand')
return redis.pcall('nosuchcommand')
return redis.call('get')
return redis.pcall('get').err
return redis.call()
return redis.pcall()
return redis.call('get',{})
return redis.call('get',nil)
return redis.call('get',true)
return redis.pcall('get',function() end)
return redis.call(1)
return server.call('set','k1','v')
return {redis == server, redis.call == server.call}
return redis.error_reply('text')
return redis.error_reply('-CODE text')
return redis.error_reply('CODE text')
return redis.error_reply('-CODE')
return redis.error_reply('-')
return redis.error_reply('')
return redis.error_reply('text\r\n')
return redis.error_reply()
return redis.error_reply(5)
return redis.error_reply('a','b')
return redis.error_reply('a').err
return redis.status_reply('text')
return redis.status_reply(5)
return redis.status_reply()
return redis.status_reply('x').ok
return redis.sha1hex('')
return redis.sha1hex('abc')
return redis.sha1hex(5)
return redis.sha1hex(nil)
return redis.sha1hex({})
return redis.sha1hex()
return redis.sha1hex('a','b')
return redis.log(redis.LOG_DEBUG,'text')
return redis.log(1)
return redis.log()
return redis.log('x','y')
return redis.log(4,'y')
return redis.log(-1,'y')
return redis.log('1','y',5,{},'z')
return {redis.LOG_DEBUG,redis.LOG_VERBOSE,redis.LOG_NOTICE,redis.LOG_WARNING}
return {redis.REPL_NONE,redis.REPL_AOF,redis.REPL_SLAVE,redis.REPL_REPLICA,redis.REPL_ALL}
return {redis.REDIS_VERSION,redis.REDIS_VERSION_NUM,redis.SERVER_NAME}
return redis.SERVER_VERSION
return redis.setresp()
return redis.setresp(1)
return redis.setresp('3')
return redis.setresp({})
return redis.setresp(2,3)
return redis.set_repl(redis.REPL_ALL)
return redis.set_repl(8)
return redis.set_repl()
return redis.set_repl('x')
return redis.replicate_commands()
return redis.breakpoint()
return redis.debug('x')
return redis.acl_check_cmd('get','k1')
return redis.acl_check_cmd('nosuchcommand')
return redis.acl_check_cmd()
return redis.acl_check_cmd({})
local t = {} for k in pairs(redis) do t[#t+1] = k end table.sort(t) return t
local t = {} for k in pairs(_G) do t[#t+1] = k end table.sort(t) return t
local t = {} for k in pairs(string) do t[#t+1] = k end table.sort(t) return t
local t = {} for k in pairs(table) do t[#t+1] = k end table.sort(t) return t
local t = {} for k in pairs(math) do t[#t+1] = k end table.sort(t) return t
local t = {} for k in pairs(os) do t[#t+1] = k end table.sort(t) return t
local t = {} for k in pairs(coroutine) do t[#t+1] = k end table.sort(t) return t
local t = {} for k in pairs(cjson) do t[#t+1] = k end table.sort(t) return t
local t = {} for k in pairs(cmsgpack) do t[#t+1] = k end table.sort(t) return t
local t = {} for k in pairs(bit) do t[#t+1] = k end table.sort(t) return t
local t = {} for k in pairs(struct) do t[#t+1] = k end table.sort(t) return t
local t = {} for k in next, redis do t[#t+1] = k end return #t
error('text')
error('text',0)
error('text',2)
error({err='E text'})
error({err='E text',extra=1})
error({1})
error({})
error(5)
error(nil)
error()
error(true)
error(redis.error_reply('-E text'))
local function f() error('deep') end f()
local function f() return redis.call('get') end return f()
return nosuch
nosuch = 1
nosuch.x = 1
local x = nil; return x.y
local x = 5; return x.y
local x = {}; return x.y.z
return 1 .. {}
return 1 + {}
return {} < {}
return 1 < 'x'
return #5
return ('x')()
local t = setmetatable({},{__index=function(t,k) return k..'!' end}) return t.a
local t = setmetatable({},{__tostring=function() return 'me' end}) return tostring(t)
return tostring(setmetatable({},{__metatable='mine'})) ~= nil and getmetatable(setmetatable({},{__metatable='mine'}))
redis.x = 1
redis.call = nil
string.x = 1
string.format = nil
_G.x = 1
_G.redis = 1
math.random = 1
rawset(_G,'x',1)
rawset(redis,'x',1)
setmetatable(_G,{})
setmetatable(redis,{})
setmetatable(string,{})
table.insert(redis,1)
table.insert(_G,1)
getmetatable('').__index = 1
getmetatable('').__index.x = 1
getmetatable(_G).__index = nil
return getmetatable('').__index == string
return type(getmetatable(_G).__index)
return getmetatable(redis)
return rawget(_G,'nosuch')
return rawget(redis,'LOG_DEBUG')
return rawequal(redis,server)
return type(_G.redis)
return _G == _G._G
return _VERSION
return {type(dofile)}
return loadfile('x')
return print('x')
return require('x')
return io.write('x')
return os.time()
return os.execute('x')
return debug.getinfo(1)
return package
return module
return getfenv()
return setfenv(1,{})
return newproxy()
return type(os.clock())
return loadstring('return 5')()
return {loadstring('return +')}
return {loadstring('x',"=name")}
return {loadstring('\27Lua')}
return {loadstring('\27Lua','=x')}
return {loadstring(string.dump(function() return 1 end))}
return loadstring('return nosuch')()
return loadstring('nosuch = 1')()
local parts = {'return ','7'} local i = 0 return load(function() i = i + 1 return parts[i] end)()
return {load(function() error('x') end)}
return {load(function() return {} end)}
return {load(function() return nil end) ~= nil}
return {load(5)}
return {pcall(load,5)}
return {pcall(error,'x')}
return {pcall(error,{err='x'})}
return {pcall(error)}
return {pcall(function() return 1,2,3 end)}
return {pcall(function() return nosuch end)}
return {pcall(nil)}
return pcall()
return select('#',pcall(error,{a=1}))
return {xpcall(function() error('x') end, function(m) return m..'!' end)}
return {xpcall(function() return 1,2 end, function() end)}
return xpcall(function() end)
return coroutine.wrap(function(a) local b = coroutine.yield(a+1) return b * 2 end)(1)
local c = coroutine.wrap(function(a) local b = coroutine.yield(a+1) return b * 2 end) c(1) return c(21)
local c = coroutine.create(function() error('x') end) return {coroutine.resume(c)}
local c = coroutine.create(function() error({err='x'}) end) local ok, e = coroutine.resume(c) return {ok, e.err}
local c = coroutine.create(function() return redis.call('get','k1') end) return {coroutine.resume(c)}
local c = coroutine.create(function() return 1 end) coroutine.resume(c) return {coroutine.resume(c)}
return coroutine.status(coroutine.create(function() end))
return coroutine.running() == nil
coroutine.yield(1)
return coroutine.wrap(function() return redis.call('nosuch') end)()
return assert(false)
return assert(false,'mine')
return assert(nil,{err='E mine'})
return {assert(1,2,3)}
return select(2,'a','b','c')
return select('#')
return select(-1,'a','b')
return select(0)
return {tonumber('0x10'),tonumber('  5  '),tonumber('5x') == nil,tonumber('10',2),tonumber('zz',36)}
return {tostring(1e15),tostring(1e14),tostring(0.1),tostring(-0.0),tostring(1/0),tostring(nil),tostring(true)}
return {type(nil),type(1),type('x'),type({}),type(print),type(type)}
return {unpack({1,2,3},2)}
return #{unpack({},1,100)}
return unpack({},1,1e8)
return unpack({},1,1e7)
return {next({})}
return {next({5})}
return next({},1)
return next({},'x')
return next(5)
return pairs(5)
return pairs()
return ipairs()
local t = {} for i, v in ipairs({1,2,nil,4}) do t[i] = v end return t
return rawget(5,1)
return rawset({},nil,1)
return setmetatable(5,{})
return setmetatable({},5)
return setmetatable(setmetatable({},{__metatable=1}),{})
return collectgarbage('count') > 0
return collectgarbage()
return collectgarbage('nosuch')
return gcinfo() > 0
return {math.floor(-1.5),math.ceil(1.2),math.max(1,5,3),math.min(4,2),math.abs(-3),math.fmod(7,3),math.sqrt(16)}
return {tostring(math.pi),tostring(math.huge),tostring(math.pow(2,10)),math.mod(7,4)}
math.randomseed(7) return {math.random(100),math.random(100),math.random(5,10)}
math.randomseed(0) return {math.random(1000000),math.random(1000000)}
math.randomseed(-5) return {math.random(1000000),tostring(math.random())}
math.randomseed(2^40+3) return math.random(1000000)
math.randomseed(1) return math.random(-10,-5)
return math.random(0)
return math.random(5,1)
return math.random(1,2,3)
return math.random('x')
math.randomseed()
return ('x'):rep(3)
return ('x'):rep(0)
return ('x'):rep(-1)
return ('ab'):rep(3.9)
return ('x'):rep()
return {('hello'):sub(2,3),('hello'):sub(-3),('hello'):upper(),('Hello'):lower(),('abc'):reverse(),('abc'):len()}
return {('abc'):byte(1,-1)}
return string.char(97,98,99)
return string.char(256)
return string.format('%d %5.2f %s %q %x %c %%',5,1.5,'x','a"b\n',255,65)
return string.format('%s %s',1,nil)
return string.format('%d','x')
return string.format('%y',1)
return string.format('%100d',1)
return string.format('%.100f',1)
return string.format('%99.99f',1)
return string.format('%s')
return {('hello world'):find('o w')}
return {('hello'):find('l')}
return {('hello'):find('l',4)}
return {('hello'):find('l',-2)}
return {('hello'):find('xyz')}
return {('hello'):find('')}
return {('hello'):find('',10)}
return {('hello'):find('',6)}
return {('a.b'):find('.',1,true)}
return {('a.b'):find('%.')}
return {('hello'):find('(l)(l)')}
return {('hello'):find('()ll()')}
return {('key = value'):match('^(%w+)%s*=%s*(%w+)$')}
return {('2024-01-02'):match('(%d+)-(%d+)-(%d+)')}
return ('hello'):match('l+')
return ('hello'):match('x*')
return {('hello'):match('.-(l+)(.*)')}
return ('  trim  '):match('^%s*(.-)%s*$')
return ('f(a(b)c)d'):match('%b()')
return ('THE (quick) fox'):find('%((%a+)%)')
return ('aXbXc'):gsub('X','-')
return {('hello'):gsub('l','L')}
return {('hello'):gsub('l','L',1)}
return {('hello'):gsub('l','L',0)}
return {('hello'):gsub('','-')}
return {('hello world'):gsub('(%w+)','<%1>')}
return {('hello world'):gsub('%w+','%0 %0',1)}
return {('hello'):gsub('(h)(e)','%2%1')}
return {('abc'):gsub('%w','%%')}
return {('abc'):gsub('%w','%9')}
return {('abc'):gsub('(%w)()','%2')}
return {('abc'):gsub('b',{b='X'})}
return {('abc'):gsub('%w',{a=1,b=true})}
return {('abc'):gsub('%w',{a=false})}
return {('abc'):gsub('%w',function(c) if c == 'b' then return c:upper() end end)}
return {('abc'):gsub('(a)(b)',function(x,y) return y..x end)}
return {('abc'):gsub('()',function(p) return p end)}
return {('abc'):gsub('b*','-')}
return {('abc'):gsub('%w*','x')}
return {('abc'):gsub('%w*',function(s) return '['..s..']' end)}
return {('abc'):gsub('^a','x')}
return {('aaa'):gsub('^a','x')}
return {('aaa'):gsub('^a',function() return 'y' end)}
return {('abc'):gsub('$','!')}
return {('abc'):gsub('%w',function() return {} end)}
return {('abc'):gsub('%w',function() error('inner') end)}
return {('abc'):gsub('%w',function() return redis.call('nosuch') end)}
return ('abc'):gsub('%w')
return ('abc'):gsub('%w',nil)
return ('abc'):gsub('%w',true)
return ('abc'):gsub()
return string.gsub({},'x','y')
return {('THE (quick) fox'):gsub('%f[%a]%a+',string.lower)}
return ('x'):find('%f')
return ('x'):find('[a')
return ('x'):find('%')
return ('x'):find('(x')
return ('x'):find('x)')
return ('x'):find('%1')
return ('x'):find('(%1)')
return ('x'):find('%b')
return ('x'):find(('(x'):rep(40))
return ('aa'):match('(a)%1')
return {('a-b'):match('[a%-]+')}
return {('a]b'):match('[]]')}
return {('a]b'):match('[^]]+')}
return {('abc123'):match('[a-c]+')}
return {('abc123'):match('[^%d]+')}
return {('a^b'):match('[%^]')}
return {('a\0b'):match('%z')}
return {('a\0b'):find('\0')}
return {('\t\n x'):match('%s+')}
return {('!?'):match('%p+')}
return {('aF9g'):match('%x+')}
return {('ab'):match('%A'),('ab1'):match('%A')}
return {('ab'):match('a?b?c?')}
return {('aab'):match('a-b')}
return {('x=1,y=2'):match('(%w)=(%w),(%w)=(%w)')}
local t = {} for w in ('one two three'):gmatch('%a+') do t[#t+1] = w end return t
local t = {} for k, v in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do t[#t+1] = k..v end return t
local t = {} for p in ('abc'):gmatch('()') do t[#t+1] = p end return t
local t = {} for p in ('abc'):gmatch('') do t[#t+1] = p..'.' end return t
local t = {} for p in ('^a'):gmatch('^a') do t[#t+1] = p end return t
return ('x'):gmatch()
return string.gmatch(nil,'x')
return string.gfind ~= nil
return ('x'):find()
return string.find(nil,'x')
return string.match('x')
return string.find({},'x')
return string.rep({},1)
return table.concat({1,2,'x'},',')
return table.concat({1,{},3})
return table.concat({1,2,3},',',2,3)
return table.concat({},',',1,2)
local t = {3,1,2} table.sort(t) return t
local t = {3,1,2} table.sort(t,function(a,b) return a > b end) return t
local t = {3,'x',2} table.sort(t) return t
local t = {1,2,3,4,5} table.sort(t,function(a,b) return true end) return #t
local t = {1,3} table.insert(t,2,2) return t
local t = {1} table.insert(t,5) return t
table.insert({},1,2,3)
table.insert({})
table.insert(5,1)
return table.remove({1,2,3})
return table.remove({1,2,3},1)
return table.remove({})
return table.getn({1,2,3})
return table.maxn({1,2,[10]=3})
table.setn({},1)
local s = 0 table.foreach({1,2,3},function(k,v) s = s + v end) return s
local s = 0 table.foreachi({1,2,3},function(k,v) s = s + v end) return s
return cjson.encode({1,2,3})
return cjson.encode({})
return cjson.encode({a=1})
return cjson.encode({[1]=1,[2]=2,[5]=5})
return cjson.encode({[1]=1,[100]=2})
return cjson.encode({[1.5]=1})
return cjson.encode({[true]=1})
return cjson.encode('a"b\\c/d\n\t\r\b\f\1\127é')
return cjson.encode(1)
return cjson.encode(1.5)
return cjson.encode(1e20)
return cjson.encode(1/3)
return cjson.encode(-0.0)
return cjson.encode(123456789012345)
return cjson.encode(true)
return cjson.encode(nil)
return cjson.encode(cjson.null)
return cjson.encode({cjson.null,false})
return cjson.encode(0/0)
return cjson.encode(1/0)
return cjson.encode(function() end)
return cjson.encode({function() end})
return cjson.encode(coroutine.create(function() end))
return cjson.encode()
return cjson.encode(1,2)
local t = {} t.t = t return cjson.encode(t)
local t = {} local u = t for i = 1, 999 do u[1] = {} u = u[1] end return #cjson.encode(t)
local t = {} local u = t for i = 1, 1000 do u[1] = {} u = u[1] end return #cjson.encode(t)
return cjson.decode('[1,2,3]')
return cjson.decode('{"a":[1,{"b":null}]}').a[2].b == cjson.null
return cjson.decode('"x"')
return cjson.decode('5')
return tostring(cjson.decode('1.5e3'))
return cjson.decode('true')
return cjson.decode('null') == cjson.null
return cjson.decode(' [ ] ')
return cjson.decode('{}')
return cjson.decode('"\\u0041\\u00e9\\u20ac\\ud83d\\ude00"')
return cjson.decode('"\\ud83d"')
return cjson.decode('"\\ude00"')
return cjson.decode('"\\uZZZZ"')
return cjson.decode('"\\x"')
return cjson.decode('"a\\/b\\n\\\\"')
return cjson.decode('"unfinished')
return cjson.decode('[1,2')
return cjson.decode('[1,]')
return cjson.decode('[1 2]')
return cjson.decode('{"a" 1}')
return cjson.decode('{"a":1,}')
return cjson.decode('{a:1}')
return cjson.decode('{"a":1 "b":2}')
return cjson.decode('{1:1}')
return cjson.decode('')
return cjson.decode('  ')
return cjson.decode('x')
return cjson.decode('nul')
return cjson.decode('[1]]')
return cjson.decode('1 2')
return cjson.decode('01')
return cjson.decode('+1')
return cjson.decode('-')
return tostring(cjson.decode('0x1F'))
return tostring(cjson.decode('inf'))
return tostring(cjson.decode('-Infinity'))
return tostring(cjson.decode('1.'))
return tostring(cjson.decode('.5'))
return tostring(cjson.decode('1e'))
return tostring(cjson.decode('-0'))
return tostring(cjson.decode('123456789012345678901234567890'))
return cjson.decode('\0\0')
return cjson.decode('1\0garbage')
return cjson.decode()
return cjson.decode({})
return cjson.decode(5)
return #cjson.decode(('['):rep(1000)..(']'):rep(1000))
return cjson.decode(('['):rep(1001)..(']'):rep(1001))
return cjson.decode(('{"a":'):rep(1001))
return cjson.encode(cjson.decode('{"b":[1,2,{"c":"d"}],"a":1.5}'))
local c = cjson.new() c.encode_invalid_numbers('null') return c.encode({1/0,0/0})
local c = cjson.new() c.encode_invalid_numbers(true) return c.encode({1/0,-1/0,0/0})
local c = cjson.new() return {c.encode_invalid_numbers(),c.encode_invalid_numbers('null'),c.encode_invalid_numbers('off')}
local c = cjson.new() c.decode_invalid_numbers(false) return c.decode('[0x1]')
local c = cjson.new() c.decode_invalid_numbers(false) return c.decode('nan')
local c = cjson.new() c.decode_invalid_numbers('off') return c.decode('01')
local c = cjson.new() return {c.decode_max_depth(),c.decode_max_depth(2)}
local c = cjson.new() c.decode_max_depth(2) return c.decode('[[[1]]]')
local c = cjson.new() c.encode_max_depth(2) return c.encode({{{1}}})
local c = cjson.new() c.encode_sparse_array(true) return c.encode({[1]=1,[100]=2})
local c = cjson.new() c.encode_sparse_array(false,0) return #c.encode({[1]=1,[100]=2})
local c = cjson.new() return {c.encode_sparse_array(true,3,5)}
local c = cjson.new() c.encode_number_precision(3) return c.encode(1/3)
local c = cjson.new() return c.encode_number_precision(15)
local c = cjson.new() return c.encode_max_depth(0)
local c = cjson.new() return c.encode_max_depth('x')
local c = cjson.new() return c.encode_keep_buffer('maybe')
local c = cjson.new() return {c.encode_keep_buffer(),c.encode_keep_buffer(false)}
local c = cjson.new() return c.encode_max_depth(1,2)
cjson.x = 1
return {cjson._NAME,cjson._VERSION}
return cmsgpack.pack(1,'x',true,nil,{1,2},{a=1})
return cmsgpack.pack(127,128,255,256,65535,65536,4294967295,4294967296,2^53)
return cmsgpack.pack(-1,-32,-33,-128,-129,-32768,-32769,-2147483648,-2147483649)
return cmsgpack.pack(1.5,0.1,1/0,-1/0,1e300)
return cmsgpack.pack(('x'):rep(31))
return cmsgpack.pack(('x'):rep(32))
return cmsgpack.pack(('x'):rep(256))
return redis.sha1hex(cmsgpack.pack(('x'):rep(65536)))
return cmsgpack.pack({})
return cmsgpack.pack({1,nil,3})
return cmsgpack.pack({[1]=1,[3]=3})
return cmsgpack.pack({[-1]=1})
return cmsgpack.pack({[1.5]=1})
return cmsgpack.pack(print)
return cmsgpack.pack()
local t = {} for i = 1, 20 do t = {t} end return cmsgpack.pack(t)
local t = {} for i = 1, 16 do t[i] = i end return cmsgpack.pack(t)
return redis.sha1hex(cmsgpack.pack((function() local t = {} for i = 1, 70000 do t[i] = i end return t end)()))
return {cmsgpack.unpack(cmsgpack.pack(1,'x',true,{1,{2}},false))}
return {cmsgpack.unpack('\204\255\205\255\255\206\255\255\255\255\208\128\209\128\000\210\128\000\000\000')}
return tostring(cmsgpack.unpack('\207\255\255\255\255\255\255\255\255'))
return tostring(cmsgpack.unpack('\211\128\000\000\000\000\000\000\000'))
return tostring(cmsgpack.unpack('\202\063\192\000\000'))
return cmsgpack.unpack('\193')
return cmsgpack.unpack('\217\005ab')
return cmsgpack.unpack('\219\255\255\255\255ab')
return cmsgpack.unpack('\220\000\002\001')
return cmsgpack.unpack('\221\255\255\255\255\001')
return cmsgpack.unpack('\223\255\255\255\255\001')
return cmsgpack.unpack('\129\192\001')
return cmsgpack.unpack('')
return cmsgpack.unpack()
return cmsgpack.unpack({})
return {cmsgpack.unpack_one(cmsgpack.pack(1,2,3))}
return {cmsgpack.unpack_one(cmsgpack.pack(1,2,3),1)}
return {cmsgpack.unpack_one(cmsgpack.pack(1,2,3),2)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1,2,3),2)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1,2,3),2,1)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1,2,3),0)}
return cmsgpack.unpack_limit('\001',-1)
return cmsgpack.unpack_one('\001',-1)
return cmsgpack.unpack_one('\001',5)
return cmsgpack.unpack_limit('\001')
return {cmsgpack._NAME,cmsgpack._VERSION,cmsgpack._COPYRIGHT,cmsgpack._DESCRIPTION}
return {bit.tobit(0xffffffff),bit.tobit(0xffffffff+1),bit.tobit(2^40+1234),bit.tobit(1.5),bit.tobit(2.5),bit.tobit('5')}
return {bit.bnot(0),bit.bnot(0x12345678),bit.bswap(0x12345678)}
return {bit.band(0x12345678,0xff),bit.bor(1,2,4,8),bit.bxor(0xa5a5f0f0,0xaa55ff00),bit.band(-1)}
return {bit.lshift(1,0),bit.lshift(1,8),bit.lshift(1,40),bit.rshift(-256,8),bit.arshift(-256,8),bit.rol(0x12345678,12),bit.ror(0x12345678,12)}
return {bit.tohex(1),bit.tohex(-1),bit.tohex(0xffffffff),bit.tohex(-1,-8),bit.tohex(0x21,4),bit.tohex(0x87654321,-4),bit.tohex(1,0),bit.tohex(1,100),bit.tohex(1,-2^31)}
return bit.tobit()
return bit.tobit({})
return bit.band()
return bit.band(1,'x',nil)
return bit.tohex(1,nil)
return bit.lshift(1)
return struct.pack('>I2 <I2 i4 b B',1,2,-3,-4,250)
return struct.pack('s c3 c0','abc','xyz','rest')
return struct.pack('f d',1.5,2.25)
return struct.pack('>f >d',1.5,2.25)
return struct.pack('!4 b i4',1,2)
return struct.pack('! b d',1,2)
return struct.pack('x i1 x',5)
return struct.pack('i16',-5)
return struct.pack('I3',2^24-1)
return struct.pack('i33',1)
return struct.pack('i99999999999',1)
return struct.pack('!3 i4',1)
return struct.pack('y',1)
return struct.pack('c5','abc')
return struct.pack('i')
return struct.pack('i','x')
return struct.pack('s')
return struct.pack()
return {struct.unpack('>I2 <I2 i4 b B',struct.pack('>I2 <I2 i4 b B',1,2,-3,-4,250))}
return {struct.unpack('s c3',struct.pack('s c3','abc','xyz'))}
return {struct.unpack('B c0','\003abcdef')}
return {struct.unpack('c0','abc')}
return {struct.unpack('I8 c0',struct.pack('I8',2^53)..'abc')}
return {tostring(struct.unpack('f',struct.pack('f',1.5))),tostring(struct.unpack('>d',struct.pack('>d',2.25)))}
return {struct.unpack('i4','abc')}
return {struct.unpack('i4','abcdefgh',5)}
return {struct.unpack('i4','abcdefgh',6)}
return {struct.unpack('i4','abcdefgh',0)}
return {struct.unpack('i4','abcdefgh',-1)}
return {struct.unpack('s','abc')}
return {struct.unpack('c2147483647','abc')}
return {struct.unpack('i2147483648','abc')}
return {tostring(struct.unpack('l',struct.pack('l',-5))),tostring(struct.unpack('L',struct.pack('L',5)))}
return {struct.unpack('i16',struct.pack('i16',-5))}
return struct.size('i4 b !8 d')
return struct.size('s')
return struct.size('c0')
return struct.size('c10 i')
return struct.size('?')
return struct.size()
local function f(n) return f(n+1) + 1 end f(1)
local function f(n) return f(n+1) end local n = 0 local ok = pcall(function() local function g(i) n = i if i < 100000 then return g(i+1) end return i end return g(1) end) return {ok, n}
local function f() return pcall(f) end return select('#',f()) > 0
local s = 'return 1' for i = 1, 250 do s = 'return (function() '..s..' end)()' end return {loadstring(s) == nil}
local s = ('('):rep(300)..'1'..(')'):rep(300) return {loadstring('return '..s)}
local t = setmetatable({},{}) getmetatable(t).__index = function(t,k) return t[k+1] end return t[1]
local t = {} for i = 1, 300 do t[i] = i end return #t
local s = 0 for i = 1, 1000 do s = s + i end return s
return {1,2,3,{4,{5,{6,{7}}}}}
return #redis.sha1hex(('x'):rep(100000))
if
return return
x = = 1
local a <const> = 1
return 1 -- comment
return [[long
return "unfinished
goto x
for i = 1, 3 do
return 0x
return '\400'
break
return ...
return {...}
local a = {} ; a[nil] = 1
local a = {} ; a[0/0] = 1
for i = 1, 'x' do end
for i = 1, 10, 0 do return i end
return -{}
return not nil
return 5 % 0 ~= 5 % 0
return {5 % 3, -5 % 3, 5.5 % 2, 2^3^2}
return 'a' < 'b'
return 10 .. 20
return ('x'):nosuch()
return ({}):nosuch()
return #'abc' + #{1,2}
return tostring(12345678901234567890)
return {tostring(2^31),tostring(2^63),tostring(1e100)}
return string.len(string.dump(function() end)) > 0
