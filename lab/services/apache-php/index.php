<?php
require '/usr/share/php/smarty4/Smarty.class.php';
session_start();
$_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
$smarty = new Smarty();
$smarty->setTemplateDir('/var/www/templates')->setCompileDir('/var/www/cache/templates');
$smarty->assign('visits', $_SESSION['visits']);
$smarty->display(($_GET['page'] ?? '') === 'cart' ? 'cart.tpl' : 'shop.tpl');
