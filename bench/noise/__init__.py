"""Stock services as pods under Intact, in their normal life and under attack: what alarms, what is only counted, what is silent.

In: a cluster of the harness. Out: a table of services and a table of attacks. What it says of Intact it reads as people do: the alerts that
were sent, the incidents, the record.
"""
