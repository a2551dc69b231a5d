// Package disk keeps a store durably on one machine's disk.
package disk
