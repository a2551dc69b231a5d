// Package mem keeps a store in memory, for tests.
package mem
