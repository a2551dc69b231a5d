package nft

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

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
	{[]string{"meta", "mark"}, "mark", func(r uint32) expr.Any { return &expr.Meta{Key: expr.MetaKeyMARK, Register: r} }},
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
	if types == "mark" && c.accept("and") {
		bits, err := c.bits()
		if err != nil {
			return err
		}
		c.emit(&expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: 4, Mask: bits, Xor: make([]byte, 4)})
	}
	invert := c.accept("!=")
	if !invert {
		c.accept("==") // is what is meant without it
	}
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
