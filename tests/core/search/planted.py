"""Bugs to plant into copies of the search, as `test_planted_bugs.py` does.

A bug is its name, the file, the text that is right (-) and what stands there instead (+).
"""

from __future__ import annotations

from tests.core.search.plain_copies import Bug

EXPAND_AND_BACKUP = """
the_prefix_difference_asks_the_childs_flag nodes
- before = 0.0 if edge.forget[row] else
+ before = 0.0 if tree.depth[row, node] % rules.lstm_horizon == 0 else
the_prefix_difference_is_never_reset nodes
- before = 0.0 if edge.forget[row] else tree
+ before = tree
the_prefix_is_taken_for_the_reward nodes
- before = 0.0 if edge.forget[row] else tree.value_prefix[row, parent]
+ before = 0.0
the_flag_of_the_row_before nodes
- before = 0.0 if edge.forget[row] else
+ before = 0.0 if edge.forget[row - 1] else
the_childs_flag_resets_all kernels
- tree.depth[row, node] %
+ (tree.depth[row, node] + 1) %
the_lstm_never_forgets search
- memory *= torch
+ memory * torch
the_horizon_is_one_longer kernels
- % rules.lstm_horizon ==
+ % (rules.lstm_horizon + 1) ==
latents_are_those_of_another_root search
- batch + rows[:count]
+ batch + rows[:count][::-1]
an_expansion_is_no_visit nodes
- tree.visits[row, node] = 1
+ tree.visits[row, node] = 0
the_roots_visits_start_at_0 tree
- tree.visits[:, ROOT] = 1
+ tree.visits[:, ROOT] = 0
the_roots_value_is_not_counted tree
- tree.value_sum[:, ROOT] = value
+ tree.value_sum[:, ROOT] = 0.0
the_root_value_is_the_networks kernels
- tree.value_sum[row, ROOT] / tree.visits[row, ROOT]
+ tree.raw_value[row, ROOT]
the_root_value_leaves_out_the_network kernels
- tree.value_sum[row, ROOT] / tree.visits[row, ROOT]
+ (tree.value_sum[row, ROOT] - tree.raw_value[row, ROOT]) / (tree.visits[row, ROOT] - 1)
the_return_discounts_the_reward nodes
- total = reward + rules.discount * total
+ total = rules.discount * (reward + total)
the_return_is_not_discounted nodes
- total = reward + rules.discount * total
+ total = reward + total
the_leafs_value_is_discounted_twice nodes
- value_sum, visits = total, 1
+ value_sum, visits = total, 1; total *= rules.discount
q_discounts_the_reward nodes
- reward + rules.discount * (value_sum / visits)
+ rules.discount * (reward + value_sum / visits)
q_is_not_discounted nodes
- rules.discount * (value_sum / visits)
+ value_sum / visits
q_leaves_out_the_reward nodes
- reward + rules.discount * (value_sum / visits)
+ rules.discount * (value_sum / visits)
q_takes_the_sum_for_the_mean nodes
- (value_sum / visits)
+ value_sum
"""

NORMALISE_AND_CHOOSE = """
bounds_only_ever_widen nodes
- if moved:
+ if moved and False:
bounds_start_at_0 nodes
- lowest, highest = np.inf, -np.inf  # no edge before
+ lowest, highest = 0.0, 0.0  # no edge before
bounds_do_not_see_the_highest_move nodes
- (before == lowest or before == highest)
+ before == lowest
bounds_do_not_see_the_lowest_move nodes
- (before == lowest or before == highest)
+ before == highest
bounds_see_the_last_edge_only nodes
- moved = moved or (node
+ moved = (node
bounds_start_anew_at_the_second_edge nodes
- if leaf == 1
+ if leaf == 2
bounds_miss_the_newest_edge nodes
- range(1, last + 1)
+ range(1, max(last, 2))
bounds_of_the_row_before nodes
- (q - tree.q_bounds[row, 0]) * tree.q_scale[row]
+ (q - tree.q_bounds[row - 1, 0]) * tree.q_scale[row - 1]
min_max_delta_is_ignored nodes
- max(highest - lowest, rules.min_max_delta)
+ (highest - lowest or 1.0)
min_max_delta_is_added nodes
- max(highest - lowest, rules.min_max_delta)
+ (highest - lowest + rules.min_max_delta)
a_norm_below_0_stays nodes
- min(max((q - tree.q_bounds[row, 0]) * tree.q_scale[row], 0.0), 1.0)
+ min((q - tree.q_bounds[row, 0]) * tree.q_scale[row], 1.0)
a_norm_above_1_stays nodes
- min(max((q - tree.q_bounds[row, 0]) * tree.q_scale[row], 0.0), 1.0)
+ max((q - tree.q_bounds[row, 0]) * tree.q_scale[row], 0.0)
a_tie_goes_to_the_first nodes
- elif score == best and
+ elif False and
a_tie_goes_to_the_last nodes
- draw % np.uint64(ties) == np.uint64(0)
+ True
a_tie_of_many_forgets_how_many nodes
- ties += 1
+ ties = 2
ties_are_drawn_alike_in_every_simulation nodes
- mix(plan.seed[row] ^ np.uint64(simulation))
+ mix(plan.seed[row])
ties_are_drawn_alike_at_every_node nodes
- np.uint64(node * actions + action)
+ np.uint64(action)
ties_are_drawn_alike_in_every_row nodes
- mix(plan.seed[row] ^
+ mix(plan.seed[0] ^
"""

PUCT = """
mean_q_weighs_by_visits puct
-             q_sum += tree.q[row, child]
-             expanded += 1
+             q_sum += tree.visits[row, child] * tree.q[row, child]
+             expanded += tree.visits[row, child]
mean_q_without_the_parents_estimate puct
- (parent_estimate + q_sum) / (1 + expanded)
+ q_sum / max(expanded, 1)
mean_q_with_a_parent_at_the_root puct
- if node != ROOT:
+ if True:
mean_q_of_a_parent_always_0 kernels
- mean_q(tree, row, node, estimate)
+ mean_q(tree, row, node, 0.0)
the_untried_are_worth_0 puct
- untried = normalised(tree, row, estimate)
+ untried = 0.0
exploration_without_the_nodes_own_visit puct
- rules.exploration[tree.visits[row, node]]
+ rules.exploration[tree.visits[row, node] - 1]
exploration_is_off_by_one_in_the_logarithm tree
- (n + config.pb_c_base + 1)
+ (n + config.pb_c_base)
exploration_without_the_root tree
- np.sqrt(n) * weight
+ n * weight
visits_do_not_wear_the_prior_off puct
- norm + bonus / (1 + tree.visits[row, child])
+ norm + bonus
the_prior_wears_off_one_visit_late puct
- bonus / (1 + tree.visits[row, child])
+ bonus / tree.visits[row, child]
q_is_not_normalised puct
- norm = normalised(tree, row, tree.q[row, child])
+ norm = tree.q[row, child]
puct_asks_the_law_of_the_row_before puct
- not plan.legal[row, action]
+ not plan.legal[row - 1, action]
puct_keeps_the_roots_law_below_it puct
- node == ROOT and not plan.legal[row, action]
+ not plan.legal[row, action]
illegal_actions_keep_an_old_score puct
- tree.scores[row, action] = -np.inf
+ pass
the_last_of_the_most_visited_is_played puct
- if n > most:
+ if n >= most:
dirichlets_share_is_the_priors plan
- (1.0 - fraction) * share + fraction * drawn[row, action]
+ fraction * share + (1.0 - fraction) * drawn[row, action]
the_prior_is_not_renormalised plan
- prior[row, action] / total if
+ prior[row, action] if
"""

GUMBEL = """
phases_are_rounded_down plan
- math.ceil(math.log2(considered))
+ math.floor(math.log2(considered))
halving_goes_down_to_one plan
- max(2, considered // 2)
+ max(1, considered // 2)
halving_rounds_up plan
- max(2, considered // 2)
+ max(2, -(-considered // 2))
one_visit_more_in_every_phase plan
- max(1, num_simulations // (phases * considered))
+ 1 + num_simulations // (phases * considered)
extra_visits_are_rounded_up plan
- num_simulations // (phases * considered)
+ -(-num_simulations // (phases * considered))
all_actions_are_considered plan
- min(config.max_considered_actions, int(num_legal[row]))
+ int(num_legal[row])
illegal_actions_are_considered plan
- int(num_legal[row])
+ legal.shape[1]
sigma_counts_all_visits gumbel
- (rules.c_visit + most) *
+ (rules.c_visit + total) *
sigma_scales_the_visits_only gumbel
- (rules.c_visit + most) * rules.c_scale
+ rules.c_visit + most * rules.c_scale
v_mix_without_the_networks_value gumbel
- (mixed + total * (weighted_q / prior_sum)) / (1 + total)
+ weighted_q / prior_sum
v_mix_with_the_mean_for_the_networks_value gumbel
- mixed = tree.raw_value[row, node]
+ mixed = tree.value_sum[row, node] / tree.visits[row, node]
v_mix_weighs_by_visits gumbel
- weight = max(float(tree.prior[row, node, action]), TINY)
+ weight = n
v_mix_counts_edges_for_visits gumbel
- total += n
+ total += 1
the_interior_rule_divides_by_the_visits gumbel
- share = 1.0 / (1 + total)
+ share = 1.0 / max(total, 1)
the_interior_follows_the_policy_blindly gumbel
- * norm - visited
+ * norm
gumbel_tries_illegal_actions gumbel
- plan.legal[row, action] and visits_of_edge
+ visits_of_edge
the_schedule_is_ignored gumbel
- and visits_of_edge(tree, row, ROOT, action) == wanted:
+ :
the_improved_policy_holds_illegal_actions gumbel
- least = 0.0 if node == ROOT else TINY
+ least = 1e-30
the_prior_holds_illegal_actions plan
-             if legal[row, action]:
-                 # Where
+             if True:
+                 # Where
the_first_of_the_most_visited_is_played gumbel
- if tree.scores[row, action] > best:
+ if tree.scores[row, action] > best == -np.inf:
the_action_is_chosen_without_the_noise gumbel
- _keep_visited(tree, plan, row, most)
+ quiet = np.log(np.maximum(tree.prior[:, ROOT], TINY).astype(np.float64))
+     _keep_visited(tree, plan._replace(gumbel=quiet), row, most)
the_action_is_chosen_among_all gumbel
- _keep_visited(tree, plan, row, most)
+ tree.scores[row] += np.where(plan.legal[row], plan.gumbel[row], -np.inf)
the_root_is_scored_without_the_prior plan
- gumbel = np.log(np.maximum(prior, TINY).astype(np.float64))
+ gumbel = np.zeros(prior.shape)
every_action_has_the_same_noise plan
- uniform(state)
+ uniform(mix(seeds[row]))
every_row_has_the_same_noise plan
- state = seeds[row]
+ state = seeds[0]
dirichlet_noise_for_gumbel_too search
- dirichlet = root_noise and config.search_method == "puct"
+ dirichlet = root_noise
"""

BUDGETS = """
a_step_less_than_the_budget search
- plan.budget >= node
+ plan.budget > node
a_step_more_than_the_budget search
- plan.budget >= node
+ plan.budget >= node - 1
the_compiled_loop_takes_a_step_less grow
- plan.budget[count - 1] < node
+ plan.budget[count - 1] <= node
the_compiled_loop_takes_a_step_more grow
- plan.budget[count - 1] < node
+ plan.budget[count - 1] < node - 1
the_compiled_loop_drops_one_row_only grow
- while count > 0 and
+ if count > 0 and
the_compiled_loop_counts_one_behind grow
- row, node - 1)
+ row, max(node - 2, 0))
results_stay_in_the_order_of_budgets search
- else result.rows(np.argsort(order))
+ else result
results_are_put_back_by_the_wrong_index search
- np.argsort(order)
+ order
seeds_stay_where_they_were search
- seeds, legal, budget = (array[order] for array in arrays)
+ seeds, (legal, budget) = arrays[0], (array[order] for array in arrays[1:])
visits_are_divided_by_the_largest_budget search
- out.visit_counts / budget[:, None]
+ out.visit_counts / budget[0]
"""

LISTS = (EXPAND_AND_BACKUP, NORMALISE_AND_CHOOSE, PUCT, GUMBEL, BUDGETS)
BUGS = [bug for text in LISTS for bug in Bug.parsed(text)]
