// Package storetest holds the suite that every store.Store passes.
package storetest
