package autoscaling

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestMend(t *testing.T) {
	v := oldVersions()[1]
	for name, c := range map[string]struct{ metric, want, remarks string }{
		"as it should be": {
			`{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}`,
			`{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":50}}}`, ``},
		"a type that never was": {
			`{type: Resource, resource: {name: cpu, target: {type: AverageUtilization, averageUtilization: 50}}}`,
			`{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":50}}}`,
			`spec.metrics[0].resource.target.type: "AverageUtilization" is taken as "Utilization"`},
		"the words of v2beta1": {
			`{type: Pods, pods: {metric: {name: packets}, targetAverageValue: 1k}}`,
			`{"type":"Pods","pods":{"metric":{"name":"packets"},"target":{"type":"AverageValue","averageValue":"1k"}}}`,
			"spec.metrics[0].pods.targetAverageValue: taken as spec.metrics[0].pods.target.averageValue, which autoscaling/v2beta2 calls it\n" +
				`spec.metrics[0].pods.target.type: missing; taken as "AverageValue"`},
		"kind for type": {
			`{type: Object, object: {metric: {name: r}, describedObject: {kind: Ingress, name: i}, target: {kind: Value, value: 10k}}}`,
			`{"type":"Object","object":{"describedObject":{"kind":"Ingress","name":"i"},"target":{"type":"Value","value":"10k"},"metric":{"name":"r"}}}`,
			`spec.metrics[0].object.target.type: missing; taken as "Value"`},
		"what cannot be known": {
			`{type: Resource, resource: {name: cpu, target: {type: Most}}}`,
			`{"type":"Resource","resource":{"name":"cpu","target":{"type":"Most"}}}`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			in := &V2beta2{}
			if err := yaml.Unmarshal([]byte(`{spec: {metrics: [`+c.metric+`]}}`), in); err != nil {
				t.Fatal(err)
			}
			before := in.DeepCopyObject()
			if got := strings.Join(v.Remarks(in), "\n"); got != c.remarks {
				t.Errorf("remarks\n%s\nwant\n%s", got, c.remarks)
			}
			hub, err := v.ToHub(in)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(before, in) {
				t.Error("conversion changed its input")
			}
			back, err := v.FromHub(hub)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := json.Marshal(back.(*V2beta2).Spec.Metrics[0]); string(got) != c.want {
				t.Errorf("%s\nwant\n%s", got, c.want)
			}
			if again := v.Remarks(back); len(again) != 0 {
				t.Errorf("what was mended is remarked again: %v", again)
			}
		})
	}
}
