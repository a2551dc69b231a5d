package nft

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The part of nft's language that rules may use (nft(8)):
//
//	match:     key [!=] value | key { . key } [!=] @set
//	key:       ip saddr | ip daddr | ip6 saddr | ip6 daddr | meta l4proto | th dport |
//	           th ports (both, as one number) | iif | iifname | oifname |
//	           ct original ip daddr | ct original proto-dst | ct state | ct status |
//	           fib saddr type | fib daddr type
//	value:     address, network, protocol, port, "name" or "prefix*", new, dnat, local
//	choice:    source vmap @map | source vmap { key : verdict, ... }
//	source:    key { . key } | numgen random mod N [offset N]
//	statement: accept | drop | return | goto chain | jump chain | masquerade |
//	           reject [with icmp type port-unreachable | host-unreachable] |
//	           update @set { key } | dup to address device key map @map |
//	           dnat to address:port | dnat to source map @map |
//	           dnat to source map { key : address . port, ... }

// compiled is a rule in the kernel's form. Sets written into the rule come before
// it; exprs refer to them.
type compiled struct {
	exprs []expr.Any
	sets  []inlineSet
}

type inlineSet struct {
	set      *nftables.Set
	elements []nftables.SetElement
}

type compiler struct {
	v6    bool   // the rule is of the ip6 family
	ended string // what the last call of until stopped at
	tok   []string
	out   compiled
}

// compile turns the text of a rule into the kernel's form; v6 tells the family.
func compile(rule string, v6 bool) (*compiled, error) {
	c := &compiler{tok: tokens(rule), v6: v6}
	if len(c.tok) == 0 {
		return nil, fmt.Errorf("nft: empty rule")
	}
	for len(c.tok) > 0 {
		if err := c.statement(); err != nil {
			return nil, fmt.Errorf("rule %q: %w", rule, err)
		}
	}
	return &c.out, nil
}

// tokens splits at blanks; braces and commas stand alone.
func tokens(rule string) []string {
	r := strings.NewReplacer("{", " { ", "}", " } ", ",", " , ")
	return strings.Fields(r.Replace(rule))
}

func (c *compiler) peek() string {
	if len(c.tok) == 0 {
		return ""
	}
	return c.tok[0]
}

func (c *compiler) next() string {
	t := c.peek()
	if len(c.tok) > 0 {
		c.tok = c.tok[1:]
	}
	return t
}

// accept takes the words if they come next.
func (c *compiler) accept(words ...string) bool {
	if len(c.tok) < len(words) {
		return false
	}
	for i, w := range words {
		if c.tok[i] != w {
			return false
		}
	}
	c.tok = c.tok[len(words):]
	return true
}

func (c *compiler) expect(word string) error {
	if got := c.next(); got != word {
		return fmt.Errorf("nft: %q where %q belongs", got, word)
	}
	return nil
}

func (c *compiler) emit(e ...expr.Any) { c.out.exprs = append(c.out.exprs, e...) }

func (c *compiler) statement() error {
	switch word := c.peek(); word {
	case "accept", "drop", "return", "goto", "jump":
		c.next()
		if word == "goto" || word == "jump" {
			word += " " + c.next()
		}
		v, err := parseVerdict(word)
		if err != nil {
			return err
		}
		c.emit(v)
		return nil
	case "masquerade":
		c.next()
		c.emit(&expr.Masq{})
		return nil
	case "reject":
		c.next()
		return c.reject()
	case "update":
		c.next()
		return c.update()
	case "dnat":
		c.next()
		return c.dnat()
	case "dup":
		c.next()
		return c.dup()
	}
	return c.match()
}

func (c *compiler) reject() error {
	code := uint8(3) // port unreachable (RFC 792)
	if c.accept("with", "icmp", "type") {
		switch w := c.next(); w {
		case "port-unreachable":
		case "host-unreachable":
			code = 1
		default:
			return fmt.Errorf("nft: unknown icmp type %q", w)
		}
	}
	if c.v6 {
		code = map[uint8]uint8{3: 4, 1: 3}[code] // the same in ICMPv6 (RFC 4443)
	}
	c.emit(&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: code})
	return nil
}

func (c *compiler) update() error {
	set, ok := strings.CutPrefix(c.next(), "@")
	if !ok {
		return fmt.Errorf("nft: update needs a @set")
	}
	if err := c.expect("{"); err != nil {
		return err
	}
	if _, err := c.source(); err != nil {
		return err
	}
	c.emit(&expr.Dynset{SrcRegKey: reg(0), SetName: set, Operation: unix.NFT_DYNSET_OP_UPDATE})
	return c.expect("}")
}

// nat is the statement itself: address in the first register, port in the next.
func (c *compiler) nat() *expr.NAT {
	if c.v6 {
		return &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV6, RegAddrMin: reg(0), RegProtoMin: reg(4)}
	}
	return &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg(0), RegProtoMin: reg(1)}
}

// address is the type of the family's addresses.
func (c *compiler) address() string {
	if c.v6 {
		return "ipv6_addr"
	}
	return "ipv4_addr"
}

func (c *compiler) dnat() error {
	if err := c.expect("to"); err != nil {
		return err
	}
	if ap, err := netip.ParseAddrPort(c.peek()); err == nil && ap.Addr().Is6() == c.v6 {
		c.next()
		nat := c.nat()
		c.emit(
			&expr.Immediate{Register: nat.RegAddrMin, Data: ap.Addr().AsSlice()},
			&expr.Immediate{Register: nat.RegProtoMin, Data: binary.BigEndian.AppendUint16(nil, ap.Port())},
			nat)
		return nil
	}
	types, err := c.source()
	if err != nil {
		return err
	}
	if err := c.expect("map"); err != nil {
		return err
	}
	if err := c.lookupMap(types, c.address()+" . inet_service"); err != nil {
		return err
	}
	c.emit(c.nat())
	return nil
}

// dup sends a copy of the packet, not tracked, to an address that is a neighbour on
// the interface which a map names.
func (c *compiler) dup() error {
	if err := c.expect("to"); err != nil {
		return err
	}
	to, err := netip.ParseAddr(c.next())
	if err != nil || to.Is6() != c.v6 {
		return fmt.Errorf("nft: dup needs an address of the table's family")
	}
	if err := c.expect("device"); err != nil {
		return err
	}
	types, err := c.source()
	if err != nil {
		return err
	}
	if err := c.expect("map"); err != nil {
		return err
	}
	if err := c.lookupMap(types, "iface_index"); err != nil {
		return err
	}
	c.emit(&expr.Immediate{Register: reg(4), Data: to.AsSlice()},
		&expr.Dup{RegAddr: reg(4), RegDev: reg(0), IsRegDevSet: true})
	return nil
}

// lookupMap reads @map or { key : value, ... } and looks the source up in it.
func (c *compiler) lookupMap(types, value string) error {
	dest := reg(0)
	if value == "verdict" {
		dest = unix.NFT_REG_VERDICT
	}
	if name, ok := strings.CutPrefix(c.peek(), "@"); ok {
		c.next()
		c.emit(&expr.Lookup{SourceRegister: reg(0), DestRegister: dest, IsDestRegSet: true, SetName: name})
		return nil
	}
	key, err := datatype(types)
	if err != nil {
		return err
	}
	val, err := datatype(value)
	if err != nil {
		return err
	}
	s := inlineSet{set: &nftables.Set{Anonymous: true, Constant: true, IsMap: true, KeyType: key, DataType: val}}
	if types == "integer" {
		// numgen's numbers are in the machine's order of bytes.
		s.set.KeyByteOrder = binaryutil.NativeEndian
	}
	if err := c.expect("{"); err != nil {
		return err
	}
	for {
		k := c.until(":")
		v := c.until(",", "}")
		e, err := element(Set{Key: types, Value: value}, Element{Key: k, Value: v})
		if err != nil {
			return err
		}
		s.elements = append(s.elements, e)
		if c.ended == "}" {
			break
		}
		if c.ended == "" {
			return fmt.Errorf("nft: a map without end")
		}
	}
	c.out.sets = append(c.out.sets, s)
	c.emit(&inlineLookup{Lookup: expr.Lookup{SourceRegister: reg(0), DestRegister: dest, IsDestRegSet: true}, set: s.set})
	return nil
}

// until joins words up to one of the ends, which it takes too.
func (c *compiler) until(ends ...string) string {
	var words []string
	for len(c.tok) > 0 {
		t := c.next()
		for _, e := range ends {
			if t == e {
				c.ended = e
				return strings.Join(words, " ")
			}
		}
		words = append(words, t)
	}
	c.ended = ""
	return strings.Join(words, " ")
}

// inlineLookup is a lookup in a set that is made together with the rule, so that
// its number is known only then.
type inlineLookup struct {
	expr.Lookup
	set *nftables.Set
}

// reg is the i-th register of 4 bytes; longer values take several. The first goes by
// its old name, as nft itself writes it.
func reg(i int) uint32 {
	if i == 0 {
		return unix.NFT_REG_1
	}
	return unix.NFT_REG32_00 + uint32(i)
}

// loads names each key's type and how it gets into a register.
var loads = []struct {
	words []string
	typ   string
	load  func(reg uint32) expr.Any
}{
	{[]string{"ip", "saddr"}, "ipv4_addr", func(r uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}
	}},
	{[]string{"ip", "daddr"}, "ipv4_addr", func(r uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}
	}},
	{[]string{"ip6", "saddr"}, "ipv6_addr", func(r uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16}
	}},
	{[]string{"ip6", "daddr"}, "ipv6_addr", func(r uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 16}
	}},
	{[]string{"th", "ports"}, "mark", func(r uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 4}
	}},
	{[]string{"iif"}, "iface_index", func(r uint32) expr.Any { return &expr.Meta{Key: expr.MetaKeyIIF, Register: r} }},
	{[]string{"th", "dport"}, "inet_service", func(r uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
	}},
	{[]string{"meta", "l4proto"}, "inet_proto", func(r uint32) expr.Any {
		return &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: r}
	}},
	{[]string{"iifname"}, "ifname", func(r uint32) expr.Any { return &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: r} }},
	{[]string{"oifname"}, "ifname", func(r uint32) expr.Any { return &expr.Meta{Key: expr.MetaKeyOIFNAME, Register: r} }},
	{[]string{"ct", "original", "ip", "daddr"}, "ipv4_addr", func(r uint32) expr.Any {
		return &expr.Ct{Key: expr.CtKeyDST, Register: r, Direction: 0}
	}},
	{[]string{"ct", "original", "proto-dst"}, "inet_service", func(r uint32) expr.Any {
		return &expr.Ct{Key: expr.CtKeyPROTODST, Register: r, Direction: 0}
	}},
	{[]string{"ct", "state"}, "state", func(r uint32) expr.Any { return &expr.Ct{Key: expr.CtKeySTATE, Register: r} }},
	{[]string{"ct", "status"}, "status", func(r uint32) expr.Any { return &expr.Ct{Key: expr.CtKeySTATUS, Register: r} }},
	{[]string{"fib", "saddr", "type"}, "fibtype", func(r uint32) expr.Any {
		return &expr.Fib{Register: r, FlagSADDR: true, ResultADDRTYPE: true}
	}},
	{[]string{"fib", "daddr", "type"}, "fibtype", func(r uint32) expr.Any {
		return &expr.Fib{Register: r, FlagDADDR: true, ResultADDRTYPE: true}
	}},
}

// registers of 4 bytes that a rule has.
const registers = 16

// source loads keys, or a random number, into the registers from the first on and
// returns their types.
func (c *compiler) source() (string, error) {
	if c.accept("numgen", "random", "mod") {
		n, err := strconv.ParseUint(c.next(), 10, 32)
		if err != nil || n == 0 {
			return "", fmt.Errorf("nft: numgen needs a number")
		}
		var offset uint64
		if c.accept("offset") {
			if offset, err = strconv.ParseUint(c.next(), 10, 32); err != nil {
				return "", fmt.Errorf("nft: numgen needs an offset")
			}
		}
		c.emit(&expr.Numgen{Register: reg(0), Modulus: uint32(n), Type: unix.NFT_NG_RANDOM, Offset: uint32(offset)})
		return "integer", nil
	}
	var types []string
	at := 0
	for {
		found := false
		for _, l := range loads {
			if c.accept(l.words...) {
				size := 1
				if l.typ == "ifname" || l.typ == "ipv6_addr" {
					size = 4
				}
				if at+size > registers {
					return "", fmt.Errorf("nft: too many keys")
				}
				c.emit(l.load(reg(at)))
				at += size
				types = append(types, l.typ)
				found = true
				break
			}
		}
		if !found {
			return "", fmt.Errorf("nft: unknown key at %q", c.peek())
		}
		if !c.accept(".") {
			return strings.Join(types, " . "), nil
		}
	}
}

func (c *compiler) match() error {
	types, err := c.source()
	if err != nil {
		return err
	}
	if c.accept("vmap") {
		return c.lookupMap(types, "verdict")
	}
	invert := c.accept("!=")
	if name, ok := strings.CutPrefix(c.peek(), "@"); ok {
		c.next()
		c.emit(&expr.Lookup{SourceRegister: reg(0), SetName: name, Invert: invert})
		return nil
	}
	op := expr.CmpOpEq
	if invert {
		op = expr.CmpOpNeq
	}
	value := c.next()
	switch types {
	case "state", "status":
		bits := map[string]uint32{"new": expr.CtStateBitNEW, "dnat": 1 << 5} // IPS_DST_NAT
		bit, ok := bits[value]
		if !ok || (value == "dnat") != (types == "status") {
			return fmt.Errorf("nft: unknown ct %s %q", types, value)
		}
		zero := make([]byte, 4)
		flip := map[expr.CmpOp]expr.CmpOp{expr.CmpOpEq: expr.CmpOpNeq, expr.CmpOpNeq: expr.CmpOpEq}
		c.emit(
			&expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, bit), Xor: zero},
			&expr.Cmp{Op: flip[op], Register: reg(0), Data: zero})
		return nil
	case "fibtype":
		if value != "local" {
			return fmt.Errorf("nft: unknown address type %q", value)
		}
		c.emit(&expr.Cmp{Op: op, Register: reg(0), Data: binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)})
		return nil
	case "ifname":
		return c.matchName(op, value)
	}
	if p, err := netip.ParsePrefix(value); err == nil && types == "ipv4_addr" && p.Addr().Is4() {
		if p.Bits() < 32 {
			c.emit(&expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: 4, Mask: net.CIDRMask(p.Bits(), 32), Xor: make([]byte, 4)})
		}
		c.emit(&expr.Cmp{Op: op, Register: reg(0), Data: p.Masked().Addr().AsSlice()})
		return nil
	}
	if p, err := netip.ParsePrefix(value); err == nil && types == "ipv6_addr" && p.Addr().Is6() {
		if p.Bits() < 128 {
			c.emit(&expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: 16, Mask: net.CIDRMask(p.Bits(), 128), Xor: make([]byte, 16)})
		}
		c.emit(&expr.Cmp{Op: op, Register: reg(0), Data: p.Masked().Addr().AsSlice()})
		return nil
	}
	data, err := encodeOne(types, value)
	if err != nil {
		return err
	}
	c.emit(&expr.Cmp{Op: op, Register: reg(0), Data: data})
	return nil
}

// matchName compares an interface's name, or the beginning of one.
func (c *compiler) matchName(op expr.CmpOp, quoted string) error {
	name, err := strconv.Unquote(quoted)
	if err != nil || name == "" || len(name) > unix.IFNAMSIZ-1 {
		return fmt.Errorf("nft: %s is no interface name", quoted)
	}
	if prefix, ok := strings.CutSuffix(name, "*"); ok {
		if prefix == "" {
			return fmt.Errorf("nft: %s matches everything", quoted)
		}
		c.emit(&expr.Cmp{Op: op, Register: reg(0), Data: []byte(prefix)})
		return nil
	}
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	c.emit(&expr.Cmp{Op: op, Register: reg(0), Data: data})
	return nil
}

// element gives an element the library's form.
func element(s Set, e Element) (nftables.SetElement, error) {
	key, err := encode(s.Key, e.Key)
	if err != nil {
		return nftables.SetElement{}, err
	}
	out := nftables.SetElement{Key: key, Timeout: e.Expires}
	switch s.Value {
	case "":
	case "verdict":
		out.VerdictData, err = parseVerdict(e.Value)
	default:
		out.Val, err = encode(s.Value, e.Value)
	}
	return out, err
}

// element is what the operation needs: to delete, the key is enough.
func (o *op) element(e Element) (nftables.SetElement, error) {
	if o.verb == deleteElements {
		return element(Set{Key: o.set.Key}, Element{Key: e.Key})
	}
	return element(o.set, e)
}
