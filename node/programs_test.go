package node

import (
	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/enginetest"
)

func ignoring(engine.ContainerSpec) (enginetest.Program, error) {
	return enginetest.IgnoresSignals(), nil
}
