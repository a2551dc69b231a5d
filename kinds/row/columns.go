package row

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Boolean is a column of true and false.
func Boolean(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "boolean", Description: description}
}

// ContainerColumns are the wide columns of kinds with a pod template.
func ContainerColumns() []metav1.TableColumnDefinition {
	wide := func(name, description string) metav1.TableColumnDefinition {
		return metav1.TableColumnDefinition{Name: name, Type: "string", Priority: 1, Description: description}
	}
	return []metav1.TableColumnDefinition{
		wide("Containers", "Names of each container in the template."),
		wide("Images", "Images referenced by each container in the template."),
	}
}
