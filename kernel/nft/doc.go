// Package nft is the kernel room's part for nftables tables, changed in transactions: an
// interface, the real thing, and a fake that dumps as text.
package nft
