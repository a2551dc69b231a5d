package auth

import (
	"errors"
	"fmt"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// maxConfig bounds a configuration file.
const maxConfig = 10 << 20

// DecodeConfig reads a configuration file, YAML or JSON, into a struct. Fields that are
// unknown or given twice are errors that name them.
func DecodeConfig(text []byte, into any) error {
	if len(text) > maxConfig {
		return fmt.Errorf("more than %d bytes", maxConfig)
	}
	raw, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return err
	}
	if string(raw) == "null" {
		return errors.New("the file is empty")
	}
	strict, err := kjson.UnmarshalStrict(raw, into)
	if err != nil {
		return err
	}
	return utilerrors.NewAggregate(strict)
}
